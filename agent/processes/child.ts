/**
 * One child process in a process group of its own, with an end that leaves nothing behind.
 *
 * Stopping goes interrupt -> TERM -> KILL, to the whole group. A grandchild that left the group (setsid, a daemon) is
 * still found: every descendant inherits a marker in its environment, and whoever carries it when the child is gone is
 * killed as well.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import type { Readable, Writable } from 'node:stream'
import { within } from '../../host/within.ts'
import type { ProcessExit } from '../../protocol/process.ts'
import type { Hands } from '../hands/hands.ts'
import { killAllLeftovers } from './leftovers.ts'
import { enterable } from './program.ts'

/** Set in every child's environment; its value is unique per child. */
export const CHILD_MARKER = 'RCLAUDE_CHILD'

/** How long each of interrupt and TERM is given before the next. */
export const STOP_GRACE_MS = 5_000

/** In this time pids do not come round to the same number again: that takes 32,768 processes at least. */
const SHORT_LIFE_MS = 2_000

/** The user that the work runs as, when the agent has another one. */
export interface WorkUser {
  uid: number
  gid: number
  /** The process that does as the work's user what the agent, being another, cannot. */
  hands?: Hands | undefined
}

export interface ChildOptions {
  argv: readonly string[]
  cwd: string
  /** The whole environment; nothing is inherited. */
  env: Record<string, string>
  stdin: 'pipe' | 'ignore'
  user?: WorkUser | undefined
}

export interface Child {
  readonly pid: number
  /** Undefined with `stdin: 'ignore'`. */
  readonly stdin: Writable | undefined
  readonly stdout: Readable
  readonly stderr: Readable
  /** Settles when the process itself has ended; its output may still be in the pipes. */
  readonly exited: Promise<ProcessExit>
  /** Sends to the whole group; false when it is gone. */
  signal(signal: NodeJS.Signals): boolean
  /** Ends it and all it left behind; resolves when nothing of it runs. Repeated calls share one stop. */
  stop(options?: { graceMs?: number; interruptFirst?: boolean }): Promise<ProcessExit>
  /** Kills what outlived the child. Call it once the child has exited by itself. */
  sweep(): Promise<void>
}

/** @throws the spawn error (ENOENT, EACCES, E2BIG ...) */
export async function startChild(options: ChildOptions): Promise<Child> {
  if (options.argv[0] === undefined) throw new TypeError('argv is empty')
  const start = await enterable(options, options.env.PATH, options.user)
  const [file = '', ...args] = start.argv
  const marker = randomBytes(12).toString('hex')
  const child = spawn(file, args, {
    cwd: start.cwd,
    env: { ...options.env, [CHILD_MARKER]: marker },
    stdio: [options.stdin, 'pipe', 'pipe'],
    detached: true, // a group of its own: signals reach all of it and none of us
    ...(options.user && { uid: options.user.uid, gid: options.user.gid }),
  })
  const pid = await spawned(child)
  const exited = new Promise<ProcessExit>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }))
  })
  const { stdin, stdout, stderr } = child as { stdin: Writable | null; stdout: Readable; stderr: Readable }
  return new RunningChild({
    pid,
    marker,
    stdin: stdin ?? undefined,
    stdout,
    stderr,
    exited,
    interrupt: 'SIGINT',
    user: options.user,
  })
}

function spawned(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('spawn', () => {
      child.off('error', reject)
      child.on('error', () => {}) // a failed kill; `exited` tells the rest
      resolve(child.pid as number)
    })
  })
}

export interface RunningParts extends Pick<Child, 'pid' | 'stdin' | 'stdout' | 'stderr' | 'exited'> {
  /** The value of CHILD_MARKER in its environment. */
  marker: string
  /** What asks it to end first. */
  interrupt: NodeJS.Signals
  user: WorkUser | undefined
}

export class RunningChild implements Child {
  readonly pid: number
  readonly stdin: Writable | undefined
  readonly stdout: Readable
  readonly stderr: Readable
  readonly exited: Promise<ProcessExit>
  readonly #marker: string
  readonly #startedAt = Date.now()
  readonly #interrupt: NodeJS.Signals
  readonly #user: WorkUser | undefined
  #hasExited = false
  #stopping: Promise<ProcessExit> | undefined
  #sweeping: Promise<void> | undefined

  constructor(parts: RunningParts) {
    this.pid = parts.pid
    this.#marker = parts.marker
    this.#interrupt = parts.interrupt
    this.#user = parts.user
    this.stdin = parts.stdin
    this.stdin?.on('error', () => {}) // EPIPE: the process closed its input, which is its right
    this.stdout = parts.stdout
    this.stderr = parts.stderr
    this.exited = parts.exited.then((exit) => {
      this.#hasExited = true
      return exit
    })
  }

  signal(signal: NodeJS.Signals): boolean {
    return signalGroup(this.pid, signal)
  }

  stop(options: { graceMs?: number; interruptFirst?: boolean } = {}): Promise<ProcessExit> {
    this.#stopping ??= this.#stop(options.graceMs ?? STOP_GRACE_MS, options.interruptFirst ?? true)
    return this.#stopping
  }

  async #stop(graceMs: number, interruptFirst: boolean): Promise<ProcessExit> {
    const ladder: NodeJS.Signals[] = interruptFirst ? [this.#interrupt, 'SIGTERM'] : ['SIGTERM']
    for (const signal of ladder) {
      if (this.#hasExited) break
      this.signal(signal)
      await within(graceMs, this.exited, () => undefined)
    }
    this.signal('SIGKILL')
    const exit = await this.exited
    await this.sweep()
    return exit
  }

  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweep()
    return this.#sweeping
  }

  async #sweep(): Promise<void> {
    this.signal('SIGKILL') // members of the group that outlived its leader
    const wasShort = Date.now() - this.#startedAt < SHORT_LIFE_MS
    await killAllLeftovers({ pid: this.pid, mark: { name: CHILD_MARKER, value: this.#marker }, wasShort }, this.#user)
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(-pid, signal)
    return true
  } catch {
    return false
  }
}
