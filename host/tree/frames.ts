/**
 * Many files in one stream: a line of JSON for each, followed by as many bytes as the line says. The line has a bound, and
 * so has what is held in memory.
 */
const BLOCK_BYTES = 256 * 1024
const MAX_LINE_BYTES = 64 * 1024
const NEWLINE = 10

/**
 * Small pieces become large blocks. It is no generator: for thousands of small files the promises cost more than the files.
 * A piece is copied, so that its buffer can be used again.
 */
export class BlockWriter {
  readonly #handOn: (block: Buffer) => Promise<void> | undefined
  #block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
  #used = 0
  #full: Promise<void> | undefined

  /** @param handOn takes a block for good; what it returns is waited for, at some time, before more is written */
  constructor(handOn: (block: Buffer) => Promise<void> | undefined) {
    this.#handOn = handOn
  }

  /** Takes all of it at once; see `room`. */
  write(piece: string | Uint8Array): void {
    const bytes = typeof piece === 'string' ? Buffer.from(piece) : piece
    for (let from = 0; from < bytes.length; ) {
      const part = bytes.subarray(from, from + BLOCK_BYTES - this.#used)
      this.#block.set(part, this.#used)
      this.#used += part.length
      from += part.length
      if (this.#used === BLOCK_BYTES) this.#next()
    }
  }

  /** What is to be awaited before the next file or piece is written; undefined when there is room. @throws what `handOn` says */
  room(): Promise<void> | undefined {
    const full = this.#full
    this.#full = undefined
    return full
  }

  /** Hands on what is left. */
  async end(): Promise<void> {
    await this.room()
    if (this.#used > 0) await this.#handOn(this.#block.subarray(0, this.#used))
    this.#used = 0
  }

  #next(): void {
    const taken = this.#handOn(this.#block)
    const before = this.#full
    this.#full = before === undefined || taken === undefined ? (taken ?? before) : before.then(() => taken)
    this.#full?.catch(() => {}) // told by `room`
    this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
    this.#used = 0
  }
}

/** The stream is not what was agreed on, or was cut. */
export class BrokenFrames extends Error {
  override readonly name = 'BrokenFrames'
}

export class FrameReader {
  readonly #source: AsyncIterator<Uint8Array>
  #rest: Buffer = Buffer.alloc(0)
  /** Bytes of the last `pieces` that nobody took. */
  #owed = 0

  readonly #maxLineBytes: number
  /** The line before: answers are mostly the same thousands of times. */
  #text: string | undefined
  #value: unknown

  constructor(source: AsyncIterable<Uint8Array>, maxLineBytes = MAX_LINE_BYTES) {
    this.#source = source[Symbol.asyncIterator]()
    this.#maxLineBytes = maxLineBytes
  }

  /**
   * The next line's value, after what is left of the file before; undefined at the end of the stream. Lines that are the same
   * one after the other have the same value, so nobody may change it.
   * @throws BrokenFrames
   */
  async line(): Promise<unknown> {
    if (this.#owed > 0) for await (const _ of this.pieces(this.#owed));
    for (let searched = 0; ; ) {
      const end = this.#rest.indexOf(NEWLINE, searched)
      if ((end < 0 ? this.#rest.length : end) > this.#maxLineBytes)
        throw new BrokenFrames('a line of the stream is too long')
      if (end >= 0) {
        const text = this.#rest.toString('utf8', 0, end)
        this.#rest = this.#rest.subarray(end + 1)
        if (text !== this.#text) [this.#text, this.#value] = [text, parse(text)]
        return this.#value
      }
      searched = this.#rest.length
      if (await this.#more()) continue
      if (searched > 0) throw new BrokenFrames('the stream ended in the middle of a line')
      return undefined
    }
  }

  /** Exactly so many bytes, at once. They are only good until the next call. */
  async bytes(length: number): Promise<Buffer> {
    if (this.#rest.length < length) {
      const parts = [this.#rest]
      for (let have = this.#rest.length; have < length; have += this.#rest.length) {
        if (!(await this.#replace())) throw cut()
        parts.push(this.#rest)
      }
      this.#rest = Buffer.concat(parts)
    }
    const taken = this.#rest.subarray(0, length)
    this.#rest = this.#rest.subarray(length)
    return taken
  }

  /** The same in pieces as they come. */
  pieces(length: number): AsyncGenerator<Buffer> {
    this.#owed = length
    return this.#pieces()
  }

  async *#pieces(): AsyncGenerator<Buffer> {
    while (this.#owed > 0) {
      if (this.#rest.length === 0 && !(await this.#replace())) throw cut()
      const taken = this.#rest.subarray(0, this.#owed)
      this.#rest = this.#rest.subarray(taken.length)
      this.#owed -= taken.length
      if (taken.length > 0) yield taken
    }
  }

  async #more(): Promise<boolean> {
    const before = this.#rest
    if (!(await this.#replace())) return false
    if (before.length > 0) this.#rest = Buffer.concat([before, this.#rest])
    return true
  }

  async #replace(): Promise<boolean> {
    const { value, done } = await this.#source.next()
    if (done === true) return false
    this.#rest = Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    return true
  }
}

const cut = () => new BrokenFrames('the stream ended in the middle of a file')

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new BrokenFrames('a line of the stream is not JSON')
  }
}
