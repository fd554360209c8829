/**
 * Runs the user's git, in one of two ways.
 *
 * `user`: in the user's repository, with the user's configuration, because what counts as ignored, how line ends are
 * normalised and which filters apply must be what the user's own `git add` would do.
 * `own`: in our temporary repository and over the network, with no configuration but ours, so that aliases of URLs,
 * push settings, credential helpers and signing keys have no say.
 *
 * In both, hooks and file-system monitors stay off, nothing asks a question, and GIT_* variables of the caller's
 * environment are dropped unless they are on a short list: rclaude may itself be started by a hook.
 */
import { spawn } from 'node:child_process'
import { Readable } from 'node:stream'
import { RclaudeError } from '../../protocol/errors.ts'

/** More output than this of one git command is a fault, not something to hold in memory. */
export const MAX_OUTPUT_BYTES = 512 * 1024 ** 2
/** How much of git's stderr is kept for messages. */
const MAX_STDERR_BYTES = 64 * 1024

const KEPT_VARIABLES = new Set([
  'GIT_EXEC_PATH',
  'GIT_SSL_CAINFO',
  'GIT_SSL_CAPATH',
  'GIT_CONFIG_GLOBAL',
  'GIT_CONFIG_SYSTEM',
  'GIT_CONFIG_NOSYSTEM',
  'GIT_CEILING_DIRECTORIES',
  'GIT_DISCOVERY_ACROSS_FILESYSTEM',
])

const QUIET_CONFIG: readonly (readonly [string, string])[] = [
  ['core.hooksPath', '/dev/null'],
  ['core.fsmonitor', 'false'],
  ['core.splitIndex', 'false'], // a split index would be written into the user's git directory
  ['core.quotePath', 'false'],
  ['core.protectHFS', 'true'],
  ['core.protectNTFS', 'true'],
  ['gc.auto', '0'],
  ['maintenance.auto', 'false'],
]

export type GitConfig = readonly (readonly [key: string, value: string])[]

export interface GitOptions {
  mode: 'user' | 'own'
  cwd: string
  env?: Record<string, string>
  /** Given through the environment, so that no token shows in argv. */
  config?: GitConfig
  input?: Uint8Array | Readable
  /** Exit codes that are an answer rather than a failure. */
  answers?: readonly number[]
  onStderr?: (text: string) => void
  signal?: AbortSignal | undefined
}

export interface GitOutput {
  code: number
  /** One character per byte ('latin1'), so that names that are no UTF-8 survive; see `textOf`. */
  stdout: string
  stderr: string
}

/** @throws {RclaudeError} with git's own words when it fails */
export async function git(args: readonly string[], options: GitOptions): Promise<GitOutput> {
  options.signal?.throwIfAborted()
  const child = spawn('git', args, {
    cwd: options.cwd,
    env: environment(options),
    stdio: ['pipe', 'pipe', 'pipe'],
    signal: options.signal,
  })
  const out: Buffer[] = []
  let outBytes = 0
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => {
    outBytes += chunk.length
    if (outBytes > MAX_OUTPUT_BYTES) child.kill()
    else out.push(chunk)
  })
  child.stderr.on('data', (chunk: Buffer) => {
    const text = chunk.toString()
    options.onStderr?.(text)
    stderr = (stderr + text).slice(-MAX_STDERR_BYTES)
  })
  child.stdin.on('error', () => {}) // git may end without reading all of it; its exit code says what happened
  if (options.input instanceof Readable) options.input.on('error', () => child.kill()).pipe(child.stdin)
  else child.stdin.end(options.input)
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (exitCode) => resolve(exitCode ?? 128))
  }).catch((error: unknown) => {
    options.signal?.throwIfAborted()
    throw spawnFailure(error)
  })
  if (outBytes > MAX_OUTPUT_BYTES)
    throw new RclaudeError('too_large', `git ${args[0]} printed more than ${MAX_OUTPUT_BYTES} bytes`)
  if (code !== 0 && options.answers?.includes(code) !== true) throw gitFailure(args, code, stderr)
  return { code, stdout: Buffer.concat(out).toString('latin1'), stderr }
}

/** The words of git's stderr that matter to people: no progress, no hints. */
export function complaint(stderr: string): string {
  const lines = stderr
    .split(/[\r\n]+/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !/^hint:|\d+% \(|^Everything up-to-date/.test(line))
  return lines.slice(-6).join('; ')
}

/** What a byte string of `git` reads as. */
export const textOf = (bytes: string): string => Buffer.from(bytes, 'latin1').toString('utf8')
export const bytesOf = (bytes: string): Buffer => Buffer.from(bytes, 'latin1')
export const splitNul = (output: string): string[] => output.split('\0').filter((entry) => entry !== '')

function environment(options: GitOptions): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {}
  for (const [name, value] of Object.entries(process.env))
    if (!name.startsWith('GIT_') || KEPT_VARIABLES.has(name)) env[name] = value
  Object.assign(env, {
    LC_ALL: 'C', // messages are matched
    GIT_OPTIONAL_LOCKS: '0',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: '',
    GIT_EDITOR: 'false',
  })
  if (options.mode === 'own') Object.assign(env, { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' })
  const config = [...QUIET_CONFIG, ...(options.config ?? [])]
  env.GIT_CONFIG_COUNT = String(config.length)
  config.forEach(([key, value], index) => {
    env[`GIT_CONFIG_KEY_${index}`] = key
    env[`GIT_CONFIG_VALUE_${index}`] = value
  })
  return Object.assign(env, options.env)
}

function spawnFailure(error: unknown): RclaudeError {
  const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT'
  const text = missing
    ? 'git was not found (or the folder is gone); install git 2.38 or newer'
    : 'git could not be started'
  return new RclaudeError(missing ? 'invalid' : 'internal', text, { cause: error })
}

function gitFailure(args: readonly string[], code: number, stderr: string): RclaudeError {
  if (/No space left on device|Disk quota exceeded/.test(stderr))
    return new RclaudeError('disk_full', `git ${args[0]} failed: ${complaint(stderr)}; free some space and try again`)
  return new RclaudeError('internal', `git ${args[0]} failed (exit ${code}): ${complaint(stderr)}`)
}
