/**
 * A Docker engine for comparisons: the machine's own when one answers, otherwise Debian's dockerd on a folder of its own,
 * without network, stopped and deleted afterwards. The container has no image of anybody's: an empty root with links,
 * and this machine's /usr read-only, so that the same programs run in it as here.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { eventually } from './eventually.ts'

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
  if (process.platform !== 'linux') return 'no Linux'
  if (!['/bin', '/lib'].every((path) => isLink(path))) return '/bin is no link to /usr/bin here'
  const engine = await startEngine()
  if (typeof engine === 'string') return engine
  try {
    return await startContainer(engine)
  } catch (error) {
    await engine.close()
    return `no container could be started: ${error instanceof Error ? error.message : error}`
  }
}

interface Engine {
  docker: string[]
  directory: string
  close(): Promise<void>
}

async function startEngine(): Promise<Engine | string> {
  const directory = mkdtempSync(join(tmpdir(), 'rclaude-docker-'))
  const forget = () => rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  if (await answers(['docker'])) return { docker: ['docker'], directory, close: async () => forget() }
  if (process.getuid?.() !== 0 || !existsSync('/usr/sbin/dockerd')) {
    forget()
    return 'no Docker engine answers, and none can be started (that takes root and /usr/sbin/dockerd)'
  }
  const docker = ['docker', '-H', `unix://${join(directory, 'socket')}`]
  const log = openSync(join(directory, 'log'), 'a')
  const daemon = spawn('/usr/sbin/dockerd', daemonArguments(directory), { stdio: ['ignore', log, log] })
  const close = async () => {
    await ended(daemon)
    forget()
  }
  try {
    await eventually('dockerd answers', () => daemon.exitCode !== null || answers(docker), 20_000)
    if (daemon.exitCode === null) return { docker, directory, close }
  } catch {
    // Told below.
  }
  const last = readFileSync(join(directory, 'log'), 'utf8').trim().split('\n').at(-1)
  await close()
  return `dockerd does not start: ${last}`
}

const daemonArguments = (directory: string): string[] => [
  ...['-H', `unix://${join(directory, 'socket')}`, '--pidfile', join(directory, 'pid')],
  ...['--data-root', join(directory, 'data'), '--exec-root', join(directory, 'exec')],
  ...['--bridge=none', '--iptables=false', '--ip6tables=false', '--ip-forward=false', '--ip-masq=false'],
]

async function startContainer({ docker, directory, close }: Engine): Promise<DockerContainer> {
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

async function answers(docker: string[]): Promise<boolean> {
  const [program = 'docker', ...before] = docker
  return run(program, [...before, 'version'], { timeout: 5_000 }).then(
    () => true,
    () => false,
  )
}

function isLink(path: string): boolean {
  try {
    return readlinkSync(path).startsWith('usr/')
  } catch {
    return false
  }
}

/** dockerd ends its containerd and its mounts itself when it is asked to. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 20_000)
  await gone
  clearTimeout(timer)
}
