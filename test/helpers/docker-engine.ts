/**
 * A Docker engine: the machine's own when one answers, otherwise Debian's dockerd on a folder of its own, without
 * network (containers share the machine's), stopped and deleted afterwards.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { eventually } from './eventually.ts'
import { unmount } from './small-disk.ts'

const run = promisify(execFile)

export interface DockerEngine {
  /** Program and options that come before any command. */
  docker: [string, ...string[]]
  /** As `launchers.docker.host` has it. */
  host: string
  /** For files of whoever uses it; deleted when it is closed. */
  directory: string
  close(): Promise<void>
}

/** What a command of the CLI prints. */
export function runDocker(
  { docker: [program, ...before] }: Pick<DockerEngine, 'docker'>,
  args: string[],
  input = '',
): string {
  return execFileSync(program, [...before, ...args], { input, encoding: 'utf8', stdio: 'pipe' }).trim()
}

/** A string says why there is none. */
export async function startDockerEngine(): Promise<DockerEngine | string> {
  if (process.platform !== 'linux') return 'no Linux'
  const directory = mkdtempSync(join(tmpdir(), 'rclaude-docker-'))
  const forget = () => {
    for (const mount of mountsBelow(directory)) unmount(mount) // one stays behind of each network
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  }
  if (await answers(['docker'])) {
    const host = process.env.DOCKER_HOST ?? 'unix:///var/run/docker.sock'
    return { docker: ['docker'], host, directory, close: async () => forget() }
  }
  if (process.getuid?.() !== 0 || !existsSync('/usr/sbin/dockerd')) {
    forget()
    return 'no Docker engine answers, and none can be started (that takes root and /usr/sbin/dockerd)'
  }
  const host = `unix://${join(directory, 'socket')}`
  const docker: DockerEngine['docker'] = ['docker', '-H', host]
  const log = openSync(join(directory, 'log'), 'a')
  const daemon = spawn('/usr/sbin/dockerd', daemonArguments(directory), { stdio: ['ignore', log, log] })
  const close = async () => {
    await ended(daemon)
    forget()
  }
  try {
    await eventually('dockerd answers', () => daemon.exitCode !== null || answers(docker), 20_000)
    if (daemon.exitCode === null) return { docker, host, directory, close }
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

async function answers(docker: string[]): Promise<boolean> {
  const [program = 'docker', ...before] = docker
  return run(program, [...before, 'version'], { timeout: 5_000 }).then(
    () => true,
    () => false,
  )
}

const mountsBelow = (directory: string): string[] =>
  readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .flatMap((line) => line.split(' ')[1] ?? [])
    .filter((mount) => mount.startsWith(`${directory}/`))
    .reverse()

/** dockerd ends its containerd and its mounts itself when it is asked to. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 20_000)
  await gone
  clearTimeout(timer)
}
