/** Writes a terminal's output as asciicast v2: a header, then one line for each piece of output or new size, with its time. */
import { StringDecoder } from 'node:string_decoder'

interface Size {
  columns: number
  rows: number
}

export interface AsciicastOptions {
  size: Size
  /** The TERM that the program had. */
  term: string
  /** Told each line, with its end. */
  write(line: string): void
  now?: () => number
}

export class AsciicastWriter {
  readonly #write: (line: string) => void
  readonly #now: () => number
  readonly #start: number
  readonly #decoder = new StringDecoder('utf8')

  constructor({ size, term, write, now = Date.now }: AsciicastOptions) {
    this.#write = write
    this.#now = now
    this.#start = now()
    const timestamp = Math.floor(this.#start / 1_000)
    this.#line({ version: 2, width: size.columns, height: size.rows, timestamp, env: { TERM: term } })
  }

  output(bytes: Buffer): void {
    this.#add('o', this.#decoder.write(bytes))
  }

  resize({ columns, rows }: Size): void {
    this.#add('r', `${columns}x${rows}`)
  }

  #add(kind: string, data: string): void {
    if (data !== '') this.#line([Math.round(this.#now() - this.#start) / 1_000, kind, data])
  }

  #line(value: unknown): void {
    this.#write(`${JSON.stringify(value)}\n`)
  }
}
