/**
 * What a terminal shows: its output run through an emulator, so that somebody who comes later, or fell behind, is sent the
 * screen as it is and not everything that led to it. Each chunk is parsed as it comes (a few KiB, well under a
 * millisecond), so the screen is never behind the journal and no queue can grow.
 */
import headless, { type Terminal } from '@xterm/headless'
import type { TerminalSize } from '../../protocol/process.ts'
import { internalsOf, isBetweenSequences } from './internals.ts'
import { OtherModes } from './other-modes.ts'
import { drawScreen } from './snapshot.ts'
import { Unfinished } from './unfinished.ts'

/** A title is shown to people, and is the work's to choose. */
const MAX_TITLE = 200

export interface Snapshot extends TerminalSize {
  /** Output that it holds; what follows begins here. */
  offset: number
  bytes: Buffer
}

export class Screen {
  readonly #terminal: Terminal
  readonly #modes: OtherModes
  readonly #unfinished = new Unfinished()
  readonly #scrollback: number
  #written = 0
  #title = ''
  #last: { full: Snapshot; short: Snapshot } | undefined

  constructor(size: TerminalSize, scrollback: number) {
    this.#scrollback = scrollback
    this.#terminal = new headless.Terminal({ cols: size.columns, rows: size.rows, scrollback, allowProposedApi: true })
    this.#modes = new OtherModes(this.#terminal)
    this.#terminal.onTitleChange((title) => {
      this.#title = title.replace(/\p{Cc}/gu, '').slice(0, MAX_TITLE)
    })
  }

  get title(): string {
    return this.#title
  }

  get size(): TerminalSize {
    return this.#last?.full ?? { columns: this.#terminal.cols, rows: this.#terminal.rows }
  }

  write(chunk: Buffer): void {
    const { _inputHandler } = internalsOf(this.#terminal)
    try {
      _inputHandler.parse(chunk)
    } catch {
      // A fault of the emulator (CSI 1 J in the last cell, for one) must not end the agent; the screen lacks this chunk.
      _inputHandler._parser.reset()
    }
    this.#written += chunk.length
    this.#unfinished.after(chunk, isBetweenSequences(this.#terminal))
  }

  resize({ columns, rows }: TerminalSize): void {
    if (this.#last === undefined) this.#terminal.resize(columns, rows)
  }

  /** `scrolled`: with the lines that went off the top. */
  snapshot(scrolled: boolean): Snapshot {
    if (this.#last !== undefined) return scrolled ? this.#last.full : this.#last.short
    const text = drawScreen(this.#terminal, scrolled ? this.#scrollback : 0, this.#title)
    const bytes = Buffer.concat([Buffer.from(text + this.#modes), this.#unfinished.bytes])
    return { columns: this.#terminal.cols, rows: this.#terminal.rows, offset: this.#written, bytes }
  }

  /** Nothing more will be written: only the last state is kept. */
  close(): void {
    this.#last = { full: this.snapshot(true), short: this.snapshot(false) }
    this.#terminal.dispose()
  }
}
