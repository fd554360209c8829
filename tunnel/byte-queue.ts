// A queue of bytes that were received or are to be sent. Small pieces are copied together, so that a peer that sends
// single bytes can't make us hold an object, or a whole network read, for each of them.

/** Pieces below this size are copied into a shared block instead of being kept one by one. */
const SMALL_PIECE_BYTES = 4 * 1024
const FIRST_BLOCK_BYTES = 1024
const MAX_BLOCK_BYTES = 16 * 1024
/** A slice may keep a buffer alive that is up to this many times as big as the slice. */
const MAX_PINNED_FACTOR = 8

export class ByteQueue {
  #pieces: Buffer[] = []
  #length = 0
  #block: Buffer | undefined
  #blockUsed = 0
  #blockInLastPiece = 0

  get length(): number {
    return this.#length
  }

  /** Keeps a reference to `bytes`, which the caller must not change until they were taken. */
  append(bytes: Buffer): void {
    if (bytes.length === 0) return
    this.#pieces.push(bytes)
    this.#length += bytes.length
    this.#blockInLastPiece = 0
  }

  /** Like append, but holds little more memory than `bytes.length`, whatever the bytes are a slice of. */
  appendCompact(bytes: Buffer): void {
    if (bytes.length >= SMALL_PIECE_BYTES) this.append(withoutPinning(bytes))
    else if (bytes.length > 0) this.#appendSmall(bytes)
  }

  /** The next 1 to `max` bytes, not more than one piece; an empty buffer when there are none. */
  take(max: number): Buffer {
    const first = this.#pieces[0]
    if (first === undefined || max <= 0) return EMPTY
    if (first.length <= max) {
      this.#pieces.shift()
      this.#length -= first.length
      if (this.#pieces.length === 0) this.clear()
      return first
    }
    this.#pieces[0] = first.subarray(max)
    if (this.#pieces.length === 1) this.#blockInLastPiece = Math.max(0, this.#blockInLastPiece - max)
    this.#length -= max
    return first.subarray(0, max)
  }

  clear(): void {
    this.#pieces = []
    this.#length = 0
    this.#block = undefined
    this.#blockInLastPiece = 0
  }

  /** Copies into the block; when the last piece ends where the block is filled up to, the piece just grows. */
  #appendSmall(bytes: Buffer): void {
    const block = this.#blockWithRoomFor(bytes.length)
    bytes.copy(block, this.#blockUsed)
    const start = this.#blockUsed - this.#blockInLastPiece
    this.#blockUsed += bytes.length
    const piece = block.subarray(start, this.#blockUsed)
    if (this.#blockInLastPiece > 0) this.#pieces[this.#pieces.length - 1] = piece
    else this.#pieces.push(piece)
    this.#blockInLastPiece = piece.length
    this.#length += bytes.length
  }

  #blockWithRoomFor(size: number): Buffer {
    const current = this.#block
    if (current !== undefined && current.length - this.#blockUsed >= size) return current
    const doubled = current === undefined ? FIRST_BLOCK_BYTES : current.length * 2
    const block = Buffer.allocUnsafeSlow(Math.max(size, Math.min(doubled, MAX_BLOCK_BYTES)))
    this.#block = block
    this.#blockUsed = 0
    this.#blockInLastPiece = 0
    return block
  }
}

const EMPTY = Buffer.alloc(0)

/** The same bytes; copied when they would keep a much bigger buffer alive. */
export function withoutPinning(bytes: Buffer): Buffer {
  return bytes.length * MAX_PINNED_FACTOR >= bytes.buffer.byteLength ? bytes : Buffer.from(bytes)
}
