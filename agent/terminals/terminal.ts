/**
 * A process's terminal and those who look at it. Any number of viewers may be attached; each is sent output at its own pace.
 *
 * The program is held back for the fastest viewer, as a real terminal holds it back: so a single viewer on a slow line has
 * little on its way, and Ctrl-C works at once. A slower viewer beside it does not brake anybody: when it has fallen too far
 * behind it is sent the screen instead of what it missed. With no viewer the program runs freely.
 *
 * The terminal is as large as the smallest of those who write. It is ended when nobody has looked at it for `idleMs`.
 */
import { randomBytes } from 'node:crypto'
import { TERMINAL_WINDOW_BYTES, type TerminalSize, type ViewerMode } from '../../protocol/process.ts'
import type { ChannelJournal } from '../processes/journal.ts'
import type { PumpTarget } from '../processes/pump.ts'
import { ProcessStdin } from '../processes/stdin.ts'
import type { PtyChild } from './pty.ts'
import type { Recording } from './recording.ts'
import { Screen, type Snapshot } from './screen.ts'

/** Viewers whose input is still known when they come back. */
const REMEMBERED_VIEWERS = 64

export interface TerminalLimits {
  /** How long it goes on without a viewer; undefined is for ever. */
  idleMs: number | undefined
  /** Lines above the screen that a new viewer is sent. */
  scrollback: number
  /** Most that is recorded. */
  recordingBytes: number
}

export interface TerminalOptions extends TerminalLimits {
  processId: string
  child: PtyChild
  journal: ChannelJournal
  size: TerminalSize
  recording: Recording | undefined
  onIdle(): void
}

export interface JoinOptions {
  mode: ViewerMode
  size?: TerminalSize | undefined
  /** Who came before under this name has lost its connection. */
  name?: string | undefined
  /** Told of another size. */
  onSize(size: TerminalSize): void
  onReplaced(): void
}

export interface Viewer {
  readonly mode: ViewerMode
  /** Its own count of input bytes. */
  readonly stdin: ProcessStdin
  /** It has, or is being sent as a screen, everything before this offset. */
  reached(offset: number): void
  resize(size: TerminalSize): void
  leave(): void
}

interface Member extends JoinOptions {
  reachedOffset: number | undefined
}

export class Terminal implements PumpTarget {
  readonly #options: TerminalOptions
  readonly #screen: Screen
  readonly #members = new Set<Member>()
  readonly #inputs = new Map<string, ProcessStdin>()
  #waiters: (() => void)[] = []
  #idle: NodeJS.Timeout | undefined

  constructor(options: TerminalOptions) {
    this.#options = options
    this.#screen = new Screen(options.size, options.scrollback)
    this.#watchIdle()
  }

  get info() {
    const { idleMs, recording } = this.#options
    return {
      ...this.#screen.size,
      viewers: this.#members.size,
      title: this.#screen.title,
      ...(idleMs !== undefined && { idleSeconds: idleMs / 1_000 }),
      ...(recording && { recordedBytes: recording.bytes }),
    }
  }

  get recording(): Recording | undefined {
    return this.#options.recording
  }

  append(chunk: Buffer): void {
    this.#screen.write(chunk)
    this.recording?.output(chunk)
    this.#options.journal.append(chunk)
  }

  close(): void {
    clearTimeout(this.#idle)
    this.#options.journal.close()
    this.#screen.close()
    this.recording?.close()
  }

  get hasRoom(): boolean {
    const { journal } = this.#options
    return journal.hasRoom && journal.end - this.#fastest() < TERMINAL_WINDOW_BYTES
  }

  changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.push(resolve)
      if (!this.#options.journal.hasRoom) void this.#options.journal.changed().then(resolve)
    })
  }

  snapshot(scrolled: boolean): Snapshot {
    return this.#screen.snapshot(scrolled)
  }

  join(options: JoinOptions): Viewer {
    const name = options.name ?? randomBytes(9).toString('base64url')
    for (const other of [...this.#members]) if (other.name === name) this.#replace(other)
    const member: Member = { ...options, name, reachedOffset: undefined }
    this.#members.add(member)
    clearTimeout(this.#idle)
    this.#fit()
    return {
      mode: options.mode,
      stdin: this.#inputOf(name),
      reached: (offset) => {
        member.reachedOffset = Math.max(offset, member.reachedOffset ?? 0)
        this.#changed()
      },
      resize: (size) => {
        member.size = size
        this.#fit()
      },
      leave: () => this.#remove(member),
    }
  }

  #replace(member: Member): void {
    this.#remove(member)
    member.onReplaced()
  }

  #remove(member: Member): void {
    if (!this.#members.delete(member)) return
    this.#fit()
    this.#watchIdle()
    this.#changed()
  }

  #watchIdle(): void {
    const { idleMs, onIdle, journal } = this.#options
    clearTimeout(this.#idle)
    if (idleMs === undefined || this.#members.size > 0 || journal.ended) return
    this.#idle = setTimeout(onIdle, idleMs)
    this.#idle.unref()
  }

  /** How far the fastest viewer is. One that has not begun holds nothing back. */
  #fastest(): number {
    const reached = [...this.#members].map((member) => member.reachedOffset ?? Number.POSITIVE_INFINITY)
    return reached.length === 0 ? Number.POSITIVE_INFINITY : Math.max(...reached)
  }

  /** As large as the smallest of the writers; without one it stays as it is. */
  #fit(): void {
    const sizes = [...this.#members].flatMap(({ mode, size }) => (mode === 'write' && size !== undefined ? [size] : []))
    if (sizes.length === 0) return
    const columns = Math.min(...sizes.map((size) => size.columns))
    const rows = Math.min(...sizes.map((size) => size.rows))
    const { size } = this.#screen
    if (columns === size.columns && rows === size.rows) return
    this.#screen.resize({ columns, rows })
    this.#options.child.resize({ columns, rows })
    this.recording?.resize({ columns, rows })
    for (const member of this.#members) member.onSize({ columns, rows })
  }

  #inputOf(name: string): ProcessStdin {
    const input = this.#inputs.get(name) ?? new ProcessStdin(this.#options.child.stdin, this.#options.processId)
    this.#inputs.delete(name)
    this.#inputs.set(name, input) // the newest last
    const oldest = this.#inputs.keys().next().value
    if (this.#inputs.size > REMEMBERED_VIEWERS && oldest !== undefined) this.#inputs.delete(oldest)
    return input
  }

  #changed(): void {
    const waiters = this.#waiters
    this.#waiters = []
    for (const wake of waiters) wake()
  }
}
