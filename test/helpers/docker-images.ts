/** Images without a registry: a few programs of this machine with the libraries they need, and the built agent. */
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { type DockerEngine, runDocker } from './docker-engine.ts'

/** What a task of the tests runs. */
const PROGRAMS = ['sh', 'cat', 'chmod', 'env', 'id', 'ls', 'mkdir', 'setsid', 'sleep', 'head', 'tail', 'touch', 'git']
/** Of the work, in these images. */
export const WORK_USER = { name: 'work', id: 1000 }

export interface Images {
  /** Nothing of rclaude in it: what a user's own image may be. */
  bare: string
  /** With the agent, as Dockerfile.agent has it. */
  agent: string
  /** What `launchers.docker.agentFolder` can name. */
  agentFolder: string
  remove(): void
}

/**
 * @param tag of this run, so that two beside each other on one engine don't meet
 * @param more programs, by the name that they get in `/bin`: where they are, or their name here
 */
export function importImages(engine: DockerEngine, tag: string, more: Record<string, string> = {}): Images {
  const root = join(engine.directory, 'image')
  const folder = join(root, 'opt/rclaude')
  for (const path of ['etc', 'tmp', 'proc', 'dev', 'sys', 'bin', 'usr', 'opt'])
    mkdirSync(join(root, path), { recursive: true })
  chmodSync(join(root, 'tmp'), 0o1777)
  const owners = `root:x:0:0:root:/root:/bin/sh\n${WORK_USER.name}:x:${WORK_USER.id}:${WORK_USER.id}::/home:/bin/sh\n`
  writeFileSync(join(root, 'etc/passwd'), owners)
  writeFileSync(join(root, 'etc/group'), `root:x:0:\n${WORK_USER.name}:x:${WORK_USER.id}:\n`)
  const programs = { ...Object.fromEntries(PROGRAMS.map((name) => [name, name])), ...more }
  for (const [name, file] of Object.entries(programs)) copyProgram(which(file), join(root, 'bin', name), root)
  const gitCore = execFileSync('git', ['--exec-path'], { encoding: 'utf8' }).trim()
  mkdirSync(join(root, gitCore), { recursive: true })
  for (const helper of ['git-remote-http', 'git-remote-https'])
    copyProgram(join(gitCore, helper), join(root, gitCore, helper), root)
  for (const helper of ['git-upload-pack', 'git-receive-pack']) symlinkSync('/bin/git', join(root, gitCore, helper))
  copyLibraries(process.execPath, root)
  const images = { bare: `rclaude-test-bare:${tag}`, agent: `rclaude-test-agent:${tag}` }
  importFolder(engine, root, images.bare)
  mkdirSync(folder)
  cpSync(process.execPath, join(folder, 'node'))
  for (const file of readdirSync('dist').filter((name) => /^agent\.js$|\.node$/.test(name)))
    cpSync(resolve('dist', file), join(folder, file))
  importFolder(engine, root, images.agent, [
    'ENTRYPOINT ["/opt/rclaude/node", "/opt/rclaude/agent.js"]',
    `ENV RCLAUDE_WORK_USER=${WORK_USER.name} PATH=/bin`,
  ])
  return {
    ...images,
    agentFolder: folder,
    remove() {
      runDocker(engine, ['rmi', '-f', images.bare, images.agent])
      rmSync(root, { recursive: true, force: true })
    },
  }
}

export function copyProgram(from: string, to: string, root: string): void {
  cpSync(realpathSync(from), to)
  copyLibraries(from, root)
}

/** What the loader would load for it, each where it is on this machine. */
function copyLibraries(from: string, root: string): void {
  const script = 'ldd "$0" 2> /dev/null || true' // it fails for one that needs none
  const libraries = execFileSync('sh', ['-c', script, realpathSync(from)], { encoding: 'utf8' }).match(/\/\S+/g) ?? []
  for (const library of libraries) {
    mkdirSync(dirname(join(root, library)), { recursive: true })
    cpSync(realpathSync(library), join(root, library))
  }
}

export const which = (program: string): string =>
  execFileSync('sh', ['-c', 'command -v "$0"', program], { encoding: 'utf8' }).trim()

/** @param changes as `docker import --change` takes them */
export function importFolder({ docker }: DockerEngine, root: string, image: string, changes: string[] = []): void {
  const options = changes.flatMap((change) => ['--change', change])
  const script = 'tar -C "$0" -c . | "$@"'
  execFileSync('sh', ['-c', script, root, ...docker, 'import', ...options, '-', image], { stdio: 'pipe' })
}
