/**
 * What is typed, on its way to a task's terminal. As with ssh, `~` at the beginning of a line is for us: everything else, every
 * control key included, is the program's.
 */
import { Transform } from 'node:stream'

export type EscapeCommand = 'leave' | 'detach' | 'help'

const COMMANDS: Record<string, EscapeCommand> = { '.': 'leave', d: 'detach', '?': 'help' }
const CARRIAGE_RETURN = 13
const LINE_FEED = 10

export const escapeHelp = (key: string): string =>
  [
    `${key}.  leave; the process goes on for a while without anybody`,
    `${key}d  the same, and the exit code is 0`,
    `${key}?  this help`,
    `${key}${key}  the key itself`,
    'They are known at the beginning of a line only.',
  ].join('\r\n')

/** @param key one character; undefined passes everything on */
export class EscapeFilter extends Transform {
  readonly #key: number | undefined
  readonly #onCommand: (command: EscapeCommand) => void
  #isAtLineStart = true
  #isPending = false

  constructor(key: string | undefined, onCommand: (command: EscapeCommand) => void) {
    super()
    this.#key = key?.charCodeAt(0)
    this.#onCommand = onCommand
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    const passed: number[] = []
    for (const byte of chunk) this.#take(byte, passed)
    if (passed.length > 0) this.push(Buffer.from(passed))
    done()
  }

  override _flush(done: () => void): void {
    if (this.#isPending && this.#key !== undefined) this.push(Buffer.of(this.#key))
    done()
  }

  #take(byte: number, passed: number[]): void {
    if (this.#isPending && this.#key !== undefined) {
      this.#isPending = false
      const command = COMMANDS[String.fromCharCode(byte)]
      if (command !== undefined) {
        this.#isAtLineStart = true
        setImmediate(this.#onCommand, command) // what was typed before it goes first
        return
      }
      if (byte !== this.#key) passed.push(this.#key)
    } else if (this.#isAtLineStart && byte === this.#key) {
      this.#isPending = true
      return
    }
    passed.push(byte)
    this.#isAtLineStart = byte === CARRIAGE_RETURN || byte === LINE_FEED
  }
}
