/**
 * A container for comparisons on any Docker engine. It has no image of anybody's: an empty root with links, and this
 * machine's /usr read-only, so that the same programs run in it as here.
 */
import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type DockerEngine, startDockerEngine } from './docker-engine.ts'

const run = promisify(execFile)
const IMAGE = 'rclaude-exec-conformance'

export interface DockerContainer {
  /** Program and arguments that come before `docker exec`'s own options; the container's name follows these. */
  exec: readonly string[]
  name: string
  close(): Promise<void>
}

/** A string says why there is none. */
export async function startDockerContainer(): Promise<DockerContainer | string> {
  if (!['/bin', '/lib'].every((path) => isLink(path))) return '/bin is no link to /usr/bin here'
  const engine = await startDockerEngine()
  if (typeof engine === 'string') return engine
  try {
    return await startContainer(engine)
  } catch (error) {
    await engine.close()
    return `no container could be started: ${error instanceof Error ? error.message : error}`
  }
}

async function startContainer({ docker, directory, close }: DockerEngine): Promise<DockerContainer> {
  const [program = 'docker', ...before] = docker
  const name = `rclaude-exec-${process.pid}`
  const tar = execFileSync('tar', ['-C', emptyRoot(directory), '-c', '.'])
  execFileSync(program, [...before, 'import', '-', IMAGE], { input: tar, stdio: ['pipe', 'ignore', 'pipe'] })
  const options = ['--name', name, '--network', 'none', '-v', '/usr:/usr:ro', '-w', '/work']
  await run(program, [...before, 'run', '-d', ...options, IMAGE, 'sleep', '100000'])
  return {
    exec: [...docker, 'exec'],
    name,
    async close() {
      await run(program, [...before, 'rm', '-f', name]).catch(() => {})
      await run(program, [...before, 'rmi', '-f', IMAGE]).catch(() => {})
      await close()
    },
  }
}

/** Folders that a program expects, and the links into /usr of a Debian system. */
function emptyRoot(directory: string): string {
  const root = join(directory, 'root')
  for (const path of ['usr', 'etc', 'tmp', 'work/sub', 'root', 'proc', 'dev', 'sys'])
    mkdirSync(join(root, path), { recursive: true })
  for (const name of ['bin', 'sbin', 'lib', 'lib64'])
    if (isLink(`/${name}`)) symlinkSync(readlinkSync(`/${name}`), join(root, name))
  writeFileSync(
    join(root, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nowhere:/bin/sh\n',
  )
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n')
  return root
}

function isLink(path: string): boolean {
  try {
    return readlinkSync(path).startsWith('usr/')
  } catch {
    return false
  }
}
