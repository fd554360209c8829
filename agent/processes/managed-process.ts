/**
 * One process that the agent runs, from its start until it is forgotten: the child, its journal, its input, and the one
 * client that may be attached.
 *
 * Its end has two moments. `exited`: the process and everything it started are gone. `finished`: also its last byte is
 * in the journal, which for a process held back for a slow client can be much later.
 */
import { constants } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { RclaudeError } from '../../protocol/errors.ts'
import type { ProcessId } from '../../protocol/ids.ts'
import type { ProcessExit, ProcessInfo, ProcessSpec } from '../../protocol/process.ts'
import type { PtyChild } from '../terminals/pty.ts'
import { Recording } from '../terminals/recording.ts'
import { Terminal, type TerminalLimits } from '../terminals/terminal.ts'
import type { Child } from './child.ts'
import type { Journal } from './journal.ts'
import { pump } from './pump.ts'
import { ProcessStdin } from './stdin.ts'

/** Longest that a timer of Node can wait. */
const MAX_TIMER_MS = 2 ** 31 - 1

export interface Offsets {
  stdout: number
  stderr: number
}

/** A client's hold on a process. The next client that attaches takes it over. */
export interface Attachment {
  /** Output before these offsets was consumed and may be forgotten. */
  consumed(offsets: Offsets): void
  /** The client is gone. */
  detach(): void
}

export interface ManagedProcessOptions {
  id: ProcessId
  spec: ProcessSpec
  cwd: string
  child: Child
  /** The child again, when it is on a terminal. */
  pty?: { child: PtyChild; directory: string; limits: TerminalLimits } | undefined
  journal: Journal
  stopGraceMs: number
  now: () => Date
}

export class ManagedProcess {
  readonly id: ProcessId
  readonly spec: ProcessSpec
  readonly journal: Journal
  readonly stdin: ProcessStdin
  /** Of a process on a terminal; its viewers stand in place of the one client. */
  readonly terminal: Terminal | undefined
  readonly startedAt: Date
  readonly exited: Promise<ProcessExit>
  readonly finished: Promise<ProcessExit>
  readonly #options: ManagedProcessOptions
  #stopReason: ProcessExit['reason']
  #ended: { at: Date; exit: ProcessExit } | undefined
  #client: { onTaken: () => void } | undefined

  constructor(options: ManagedProcessOptions) {
    const { child, journal } = options
    this.#options = options
    this.id = options.id
    this.spec = options.spec
    this.journal = journal
    this.startedAt = options.now()
    this.stdin = new ProcessStdin(child.stdin, options.id)
    this.terminal =
      options.pty &&
      options.spec.tty &&
      new Terminal({
        ...options.pty.limits,
        processId: options.id,
        child: options.pty.child,
        journal: journal.stdout,
        size: options.spec.tty,
        recording: recordingOf(options.spec.tty, options.pty),
        onIdle: () => void this.stop(),
      })
    const gone = new AbortController()
    const pumps = [
      pump(child.stdout, this.terminal ?? journal.stdout, gone.signal),
      pump(child.stderr, journal.stderr, gone.signal),
    ] as const
    this.exited = this.#watchExit().finally(() => gone.abort())
    this.finished = Promise.all([this.exited, ...pumps]).then(([exit]) => exit)
  }

  /** Set once it has exited. */
  get exit(): ProcessExit | undefined {
    return this.#ended?.exit
  }

  get hasClient(): boolean {
    return this.#client !== undefined || (this.terminal?.info.viewers ?? 0) > 0
  }

  info(): ProcessInfo {
    const { stdout, stderr } = this.journal
    return {
      id: this.id,
      argv: this.spec.argv,
      cwd: this.#options.cwd,
      pid: this.#ended === undefined ? this.#options.child.pid : null,
      detached: this.spec.detached,
      ...(this.spec.user !== undefined && { user: this.spec.user }),
      startedAt: this.startedAt.toISOString(),
      ...(this.#ended && { endedAt: this.#ended.at.toISOString(), exit: this.#ended.exit }),
      stdout: { start: stdout.start, end: stdout.end },
      stderr: { start: stderr.start, end: stderr.end },
      stdinAccepted: this.stdin.accepted,
      ...(this.terminal && { tty: this.terminal.info }),
    }
  }

  /** What it holds of the machine, for `top`. */
  use(): { id: ProcessId; pid: number | null; heldBytes: number; isHeldBack: boolean } {
    const channels = [this.journal.stdout, this.journal.stderr]
    const isRunning = this.#ended === undefined
    return {
      id: this.id,
      pid: isRunning ? this.#options.child.pid : null,
      heldBytes: channels.reduce((sum, { start, end }) => sum + end - start, 0),
      isHeldBack: isRunning && channels.some(({ hasRoom }) => !hasRoom),
    }
  }

  /** To the whole process group. @throws RclaudeError `invalid` for an unknown name, `conflict` when it has ended */
  signal(name: string): void {
    if (!isSignal(name)) throw new RclaudeError('invalid', `there is no signal ${name} here`)
    if (this.#ended !== undefined || !this.#options.child.signal(name))
      throw new RclaudeError('conflict', `process ${this.id} has ended; ${name} was not sent`)
  }

  /** Interrupt, TERM, KILL; resolves when nothing of it runs. An ended process stays as it ended. */
  async stop(reason: 'stopped' | 'timeout' = 'stopped'): Promise<ProcessExit> {
    this.#stopReason ??= reason
    if (this.#ended === undefined) await this.#options.child.stop({ graceMs: this.#options.stopGraceMs })
    return this.exited
  }

  /** @param since what the client has already. @throws RclaudeError `invalid` for offsets that don't exist yet */
  attach(since: Offsets, onTaken: () => void): Attachment {
    this.refuseUnlessReached(since)
    const client = { onTaken }
    this.#client?.onTaken()
    this.#client = client
    this.journal.clientCame(since)
    return {
      consumed: (offsets) => {
        if (this.#client === client) this.journal.consumed(offsets)
      },
      detach: () => {
        if (this.#client !== client) return
        this.#client = undefined
        this.journal.clientGone()
      },
    }
  }

  /** @throws RclaudeError `invalid` for offsets that don't exist yet */
  refuseUnlessReached(since: Offsets): void {
    for (const channel of ['stdout', 'stderr'] as const) {
      const end = this.journal[channel].end
      if (since[channel] > end)
        throw new RclaudeError('invalid', `${channel} of process ${this.id} has ${end} bytes, not ${since[channel]}`)
    }
  }

  /** True when a repeated start asks for exactly this process. */
  isStartedBy(spec: ProcessSpec): boolean {
    return isDeepStrictEqual(spec, this.spec)
  }

  async #watchExit(): Promise<ProcessExit> {
    const { child, spec, now } = this.#options
    const timeoutMs =
      spec.timeoutSeconds === undefined ? undefined : Math.min(spec.timeoutSeconds * 1_000, MAX_TIMER_MS)
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => void this.stop('timeout'), timeoutMs)
    const { code, signal } = await child.exited
    const reason = this.#stopReason
    clearTimeout(timer)
    await child.sweep()
    const exit = { code, signal, ...(reason && { reason }) }
    this.#ended = { at: now(), exit }
    return exit
  }
}

type Tty = NonNullable<ProcessSpec['tty']>

/** Undefined as well when it cannot be written: the program runs already. */
function recordingOf({ record, term, ...size }: Tty, pty: NonNullable<ManagedProcessOptions['pty']>) {
  if (record !== true) return undefined
  const file = join(pty.directory, 'recording.cast')
  try {
    return new Recording({ file, size, term, maxBytes: pty.limits.recordingBytes })
  } catch {
    return undefined
  }
}

function isSignal(name: string): name is NodeJS.Signals {
  return Object.hasOwn(constants.signals, name)
}
