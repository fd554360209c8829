/**
 * Runs git in the agent, as the daemon or as the work user, with nothing of the machine's or the workspace's
 * configuration able to run code: no hooks, no file-system monitor, no filters but git's own, no prompt, no transport
 * that the one command does not need. The child has a process group of its own, which is killed as a whole.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { Duplex } from 'node:stream'
import { RclaudeError } from '../../protocol/errors.ts'
import type { WorkUser } from '../processes/child.ts'

/** More output than this of one command is a fault. */
export const MAX_OUTPUT_BYTES = 256 * 1024 ** 2
const MAX_STDERR_BYTES = 16 * 1024
/** git removes its temporary files on TERM; then it has this long. */
const KILL_AFTER_MS = 2_000
/** No single git command of ours may take longer: the workspace may hold traps, such as a FIFO in a git directory. */
export const GIT_TIMEOUT_MS = 20 * 60_000

export type Transport = 'http' | 'https' | 'file'

export interface GitOptions {
  cwd: string
  /** A file of the daemon's with the settings that child processes of git must see as well. */
  globalConfig: string
  user?: WorkUser | undefined
  env?: Record<string, string>
  config?: readonly (readonly [key: string, value: string])[]
  transports?: readonly Transport[]
  input?: Uint8Array
  /** What can be read from file descriptor 3, once, by git and what git starts. */
  whisper?: string | undefined
  /** Exit codes that are an answer rather than a failure. */
  answers?: readonly number[]
  /** Takes the output as it comes; none of it is kept, so there is no limit to it. */
  onOutput?: (chunk: Buffer) => void
  signal?: AbortSignal | undefined
}

export interface GitOutput {
  code: number
  /** One character per byte ('latin1'), so that names that are no UTF-8 survive. */
  stdout: string
  stderr: string
}

/** These override the configuration of whatever repository git is pointed at. */
const CONFIG: readonly (readonly [string, string])[] = [
  ['core.hooksPath', '/dev/null'],
  ['core.fsmonitor', 'false'],
  ['core.splitIndex', 'false'],
  ['core.untrackedCache', 'false'],
  ['core.attributesFile', '/dev/null'],
  ['core.excludesFile', '/dev/null'],
  ['core.pager', 'cat'],
  ['credential.helper', ''],
  ['gc.auto', '0'],
  ['maintenance.auto', 'false'],
  ['commit.gpgSign', 'false'],
  ['submodule.recurse', 'false'],
  ['protocol.allow', 'never'],
]

/** What `GitOptions.globalConfig` must hold: a git that another git starts sees files, not our variables. */
export const GLOBAL_CONFIG =
  '[safe]\n\tdirectory = *\n[core]\n\thooksPath = /dev/null\n\tfsmonitor = false\n[gc]\n\tauto = 0\n'

export async function git(args: readonly string[], options: GitOptions): Promise<GitOutput> {
  options.signal?.throwIfAborted()
  // Into a folder of the work only as the work: git goes there when it is that user already, and a child before it is.
  const isOther = options.user !== undefined
  const child = spawn('git', isOther ? ['-C', options.cwd, ...args] : args, {
    cwd: isOther ? '/' : options.cwd,
    env: environment(options),
    stdio: ['pipe', 'pipe', 'pipe', ...(options.whisper === undefined ? [] : (['pipe'] as const))],
    detached: true,
    ...(options.user !== undefined && { uid: options.user.uid, gid: options.user.gid }),
  })
  const out: Buffer[] = []
  let bytes = 0
  let stderr = ''
  let why: 'aborted' | 'late' | 'long' | undefined
  const signalGroup = (name: NodeJS.Signals) => {
    try {
      if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, name)
    } catch {
      // it is gone already
    }
  }
  const end = (cause: NonNullable<typeof why>) => {
    why ??= cause
    signalGroup('SIGTERM')
    setTimeout(() => signalGroup('SIGKILL'), KILL_AFTER_MS).unref()
  }
  const onAbort = () => end('aborted')
  const timer = setTimeout(() => end('late'), GIT_TIMEOUT_MS)
  options.signal?.addEventListener('abort', onAbort, { once: true })
  child.stdout.on('data', (chunk: Buffer) => {
    if (options.onOutput !== undefined) return options.onOutput(chunk)
    bytes += chunk.length
    if (bytes > MAX_OUTPUT_BYTES) end('long')
    else out.push(chunk)
  })
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString()).slice(-MAX_STDERR_BYTES)
  })
  child.stdin.on('error', () => {}) // git may end without reading all of it; its exit code says what happened
  child.stdin.end(options.input)
  whisper(child, options.whisper)
  try {
    const code = await new Promise<number>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (exitCode) => resolve(exitCode ?? 128))
    })
    options.signal?.throwIfAborted()
    if (why === 'late')
      throw new RclaudeError('internal', `git ${args[0]} took more than ${GIT_TIMEOUT_MS / 60_000} minutes`)
    if (why === 'long')
      throw new RclaudeError('too_large', `git ${args[0]} printed more than ${MAX_OUTPUT_BYTES} bytes`)
    if (code !== 0 && options.answers?.includes(code) !== true)
      throw new RclaudeError('internal', `git ${args[0]} failed (exit ${code}): ${complaint(stderr)}`)
    return { code, stdout: Buffer.concat(out).toString('latin1'), stderr }
  } finally {
    clearTimeout(timer)
    options.signal?.removeEventListener('abort', onAbort)
  }
}

/** Nothing of it is left in an environment, an argument or a file. */
function whisper(child: ChildProcess, text: string | undefined): void {
  const pipe = child.stdio[3]
  if (text === undefined || !(pipe instanceof Duplex)) return
  pipe.on('error', () => {}) // git ended without asking
  pipe.resume()
  pipe.end(text)
}

export const complaint = (stderr: string): string =>
  stderr
    .split(/[\r\n]+/)
    .filter((line) => line.trim() !== '' && !line.startsWith('hint:'))
    .slice(-5)
    .join('; ')

export const splitNul = (output: string): string[] => output.split('\0').filter((entry) => entry !== '')

function environment(options: GitOptions): Record<string, string> {
  const transports = (options.transports ?? []).map((name) => [`protocol.${name}.allow`, 'always'] as const)
  const config = [...CONFIG, ...transports, ...(options.config ?? [])]
  const env: Record<string, string> = {
    PATH: process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin',
    HOME: '/nonexistent',
    LC_ALL: 'C',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: options.globalConfig,
    GIT_ATTR_NOSYSTEM: '1',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_OPTIONAL_LOCKS: '0',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: '',
    GIT_EDITOR: 'false',
    GIT_CONFIG_COUNT: String(config.length),
    ...options.env,
  }
  config.forEach(([key, value], index) => {
    env[`GIT_CONFIG_KEY_${index}`] = key
    env[`GIT_CONFIG_VALUE_${index}`] = value
  })
  return env
}
