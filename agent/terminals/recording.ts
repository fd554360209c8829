/**
 * A terminal's recording beside its journal, for who looks later: the journal has the bytes but not their times, and loses
 * its oldest. This loses its end: from the limit on nothing more is recorded, which it says, nor when the disk is full.
 */
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { AsciicastWriter } from '../../host/asciicast.ts'
import type { TerminalSize } from '../../protocol/process.ts'
import { formatBytes } from '../../protocol/units.ts'

export interface RecordingOptions {
  file: string
  size: TerminalSize
  term: string
  /** `limits.terminalRecording` */
  maxBytes: number
}

export class Recording {
  readonly file: string
  readonly #maxBytes: number
  readonly #cast: AsciicastWriter
  #open: number | undefined
  #bytes = 0
  #isOver = false

  /** @throws the system's error when there is no room for it */
  constructor({ file, size, term, maxBytes }: RecordingOptions) {
    this.file = file
    this.#maxBytes = maxBytes
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
    this.#open = openSync(file, 'wx', 0o600)
    this.#cast = new AsciicastWriter({ size, term, write: (line) => this.#add(line) })
  }

  /** Of the file. */
  get bytes(): number {
    return this.#bytes
  }

  output(bytes: Buffer): void {
    if (this.#open !== undefined) this.#cast.output(bytes)
  }

  resize(size: TerminalSize): void {
    if (this.#open !== undefined) this.#cast.resize(size)
  }

  close(): void {
    if (this.#open !== undefined) closeSync(this.#open)
    this.#open = undefined
  }

  #add(line: string): void {
    if (this.#open === undefined) return
    if (!this.#isOver && this.#bytes + Buffer.byteLength(line) > this.#maxBytes) {
      this.#isOver = true
      this.#cast.output(Buffer.from(endedAt(this.#maxBytes)))
      this.close()
      return
    }
    try {
      this.#bytes += writeSync(this.#open, line)
    } catch {
      this.close() // the disk is full: the program goes on
    }
  }
}

const endedAt = (bytes: number): string =>
  `\r\n\u001b[0m[rclaude: the recording ends here, at ${formatBytes(bytes)} (limits.terminalRecording)]\r\n`
