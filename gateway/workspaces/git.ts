/**
 * Runs git on the gateway, on repositories that only the gateway writes to and whose contents nobody trusts: an
 * environment of our own, no configuration outside the repository, no hooks, no prompts, and no transport but the local
 * file system. The child has a process group of its own, which is killed as a whole.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { RclaudeError } from '../../protocol/errors.ts'

/** More output than this of one command that answers a question is a fault. */
export const MAX_OUTPUT_BYTES = 16 * 1024 ** 2
const MAX_STDERR_BYTES = 16 * 1024
/** git removes its temporary files on TERM; then it has this long. */
const KILL_AFTER_MS = 2_000

const CONFIG: readonly (readonly [string, string])[] = [
  ['core.hooksPath', '/dev/null'],
  ['core.fsmonitor', 'false'],
  ['core.protectHFS', 'true'],
  ['core.protectNTFS', 'true'],
  ['safe.directory', '*'],
  ['gc.auto', '0'],
  ['maintenance.auto', 'false'],
  ['protocol.allow', 'never'],
  ['protocol.file.allow', 'always'],
]

export interface GitOptions {
  /** The repository; also the working directory. */
  repository: string
  env?: Record<string, string>
  input?: Uint8Array | Readable
  /** Exit codes that are an answer rather than a failure. */
  answers?: readonly number[]
  signal?: AbortSignal | undefined
}

export type GitChild = ChildProcessByStdio<Writable, Readable, Readable>

export interface RunningGit {
  child: GitChild
  /** What it has complained so far, bounded. */
  stderr(): string
  /** Ends the whole process group. Harmless when it is gone. */
  kill(): void
  readonly exited: Promise<number>
}

/** Starts git and leaves its streams to the caller. */
export function startGit(args: readonly string[], options: Omit<GitOptions, 'input' | 'answers'>): RunningGit {
  const child = spawn('git', args, {
    cwd: options.repository,
    env: { ...environment(options.repository), ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  })
  let stderr = ''
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString()).slice(-MAX_STDERR_BYTES)
  })
  child.stdin.on('error', () => {}) // git may end without reading everything; its exit code says what happened
  let ended = false
  const signalGroup = (name: NodeJS.Signals) => {
    if (ended || child.pid === undefined) return
    try {
      process.kill(-child.pid, name)
    } catch {
      // it is gone already
    }
  }
  const kill = () => {
    signalGroup('SIGTERM')
    setTimeout(() => signalGroup('SIGKILL'), KILL_AFTER_MS).unref()
  }
  options.signal?.addEventListener('abort', kill, { once: true })
  const exited = new Promise<number>((resolve, reject) => {
    child.once('error', (error) => reject(new RclaudeError('internal', 'git could not be started', { cause: error })))
    child.once('close', (code) => resolve(code ?? 128))
  }).finally(() => {
    ended = true
    options.signal?.removeEventListener('abort', kill)
  })
  exited.catch(() => {}) // whoever awaits it still sees it
  if (options.signal?.aborted === true) kill()
  return { child, stderr: () => stderr, kill, exited }
}

/** Runs git to its end. Output is one character per byte ('latin1'). */
export async function git(
  args: readonly string[],
  options: GitOptions,
): Promise<{ code: number; stdout: string; stderr: string }> {
  options.signal?.throwIfAborted()
  const running = startGit(args, options)
  const out: Buffer[] = []
  let bytes = 0
  running.child.stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > MAX_OUTPUT_BYTES) running.kill()
    else out.push(chunk)
  })
  const fed = feed(running.child.stdin, options.input).catch((error: unknown) => {
    running.kill()
    throw error
  })
  const [code] = await Promise.all([running.exited, fed])
  options.signal?.throwIfAborted()
  const stderr = running.stderr()
  if (bytes > MAX_OUTPUT_BYTES)
    throw new RclaudeError('too_large', `git ${args[0]} printed more than ${MAX_OUTPUT_BYTES} bytes`)
  if (code !== 0 && options.answers?.includes(code) !== true) throw gitFailure(args[0] ?? '', code, stderr)
  return { code, stdout: Buffer.concat(out).toString('latin1'), stderr }
}

async function feed(stdin: Writable, input: Uint8Array | Readable | undefined): Promise<void> {
  if (input === undefined || input instanceof Uint8Array) {
    stdin.end(input)
    return
  }
  await pipeline(input, stdin).catch((error: unknown) => {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code !== 'EPIPE' && code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error
    if (input.errored !== null) throw error
  })
}

export const isDiskFull = (text: string): boolean =>
  /No space left on device|Disk quota exceeded|ENOSPC|EDQUOT/.test(text)

export function gitFailure(command: string, code: number, stderr: string): RclaudeError {
  const words = stderr.trim().split('\n').slice(-4).join('; ')
  if (isDiskFull(stderr))
    return new RclaudeError(
      'disk_full',
      `the gateway's disk is full (git ${command}); delete ended tasks with rclaude rm`,
    )
  return new RclaudeError('internal', `git ${command} failed on the gateway (exit ${code}): ${words}`)
}

function environment(repository: string): Record<string, string> {
  const env: Record<string, string> = {
    PATH: process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin',
    HOME: '/nonexistent',
    LC_ALL: 'C',
    GIT_DIR: repository,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: '',
    GIT_CONFIG_COUNT: String(CONFIG.length),
  }
  CONFIG.forEach(([key, value], index) => {
    env[`GIT_CONFIG_KEY_${index}`] = key
    env[`GIT_CONFIG_VALUE_${index}`] = value
  })
  return env
}
