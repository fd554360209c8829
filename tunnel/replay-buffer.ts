// What was written and is not acknowledged yet, by position: byte n is the n-th that was ever written. A cursor says how
// much of it the present connection was given; a new connection moves it back to what the other side has.
//
// Big pieces are kept as they are, without a copy: they belong to us from the write on. Small ones are copied together,
// so that a peer that provokes twelve-byte frames and acknowledges nothing can't make us hold an object for each.

import { writeBlocks } from './block-pool.ts'

/** Pieces below this are copied into a shared block. */
const SMALL_PIECE_BYTES = 4 * 1024
const FIRST_BLOCK_BYTES = 512
const MAX_BLOCK_BYTES = 16 * 1024
/** Emptied places at the front of the list are removed when there are this many. */
const COMPACT_AT = 256

export class ReplayBuffer {
  /** The position after the last byte that was written. */
  written = 0
  /** The position up to which the other side has everything. */
  acknowledged = 0
  /** The position up to which the present connection was given everything. */
  given = 0
  /** The highest position that any connection was given. */
  #everGiven = 0

  #pieces: Buffer[] = []
  /** Index of the first piece that is held. */
  #first = 0
  /** The piece in which `given` lies, and how much of it was given. */
  #cursor = 0
  #cursorOffset = 0
  #block: Buffer | undefined
  #blockUsed = 0
  /** Length of the last piece if it ends where the block is filled up to, so that it can grow; otherwise 0. */
  #growable = 0

  get held(): number {
    return this.written - this.acknowledged
  }

  append(bytes: Buffer): void {
    if (bytes.length === 0) return
    this.written += bytes.length
    if (bytes.length < SMALL_PIECE_BYTES) {
      this.#appendSmall(bytes)
    } else {
      this.#pieces.push(bytes)
      this.#growable = 0
    }
  }

  /** The next bytes for the connection, undefined when it was given all. */
  next(): Buffer | undefined {
    if (this.given === this.written) return undefined
    let piece = this.#pieces[this.#cursor]
    if (piece !== undefined && this.#cursorOffset >= piece.length) {
      this.#moveCursor(this.#cursor + 1)
      piece = this.#pieces[this.#cursor]
    }
    if (piece === undefined) return undefined
    const bytes = this.#cursorOffset === 0 ? piece : piece.subarray(this.#cursorOffset)
    this.#cursorOffset = piece.length
    this.given += bytes.length
    this.#everGiven = Math.max(this.#everGiven, this.given)
    return bytes
  }

  /**
   * The present connection's other side has everything up to `position`. False when it can't have.
   * @param queued how much of what was given still waits in the connection, which then still reads from it. An honest
   *   other side never acknowledges that; one that does must not get what comes into the same memory next.
   */
  acknowledge(position: number, queued: number): boolean {
    if (!Number.isSafeInteger(position) || position < this.acknowledged || position > this.given) return false
    this.#drop(position, this.given - queued)
    return true
  }

  /** A new connection begins, whose other side has everything up to `position`. False when it can't have. */
  rewind(position: number): boolean {
    if (!this.canRewind(position)) return false
    this.#drop(position, NEVER)
    this.given = position
    this.#moveCursor(this.#first)
    return true
  }

  canRewind(position: number): boolean {
    return Number.isSafeInteger(position) && position >= this.acknowledged && position <= this.#everGiven
  }

  clear(): void {
    this.acknowledged = this.written
    this.given = this.written
    this.#pieces = []
    this.#first = 0
    this.#moveCursor(0)
    this.#dropBlock()
  }

  /** What ends at `reusableUpTo` or before is read by nobody any more. */
  #drop(position: number, reusableUpTo: number): void {
    let left = position - this.acknowledged
    this.acknowledged = position
    while (left > 0) {
      const piece = this.#pieces[this.#first]
      if (piece === undefined) break
      if (piece.length > left) {
        this.#trimFirst(piece, left)
        break
      }
      left -= piece.length
      if (position - left <= reusableUpTo) writeBlocks.giveBack(piece)
      this.#pieces[this.#first] = NOTHING
      this.#first += 1
    }
    if (this.#cursor < this.#first) this.#moveCursor(this.#first)
    this.#compact()
  }

  #trimFirst(piece: Buffer, by: number): void {
    this.#pieces[this.#first] = piece.subarray(by)
    if (this.#cursor === this.#first) this.#cursorOffset = Math.max(0, this.#cursorOffset - by)
    if (this.#first === this.#pieces.length - 1 && this.#growable > 0) this.#growable -= by
  }

  #moveCursor(to: number): void {
    this.#cursor = to
    this.#cursorOffset = 0
  }

  #appendSmall(bytes: Buffer): void {
    const block = this.#blockWithRoomFor(bytes.length)
    bytes.copy(block, this.#blockUsed)
    const isGrowing = this.#growable > 0
    const start = this.#blockUsed - this.#growable
    this.#blockUsed += bytes.length
    const piece = block.subarray(start, this.#blockUsed)
    if (isGrowing) this.#pieces[this.#pieces.length - 1] = piece
    else this.#pieces.push(piece)
    this.#growable = piece.length
  }

  #blockWithRoomFor(size: number): Buffer {
    const current = this.#block
    if (current !== undefined && current.length - this.#blockUsed >= size) return current
    const doubled = current === undefined ? FIRST_BLOCK_BYTES : current.length * 2
    const block = Buffer.allocUnsafeSlow(Math.max(size, Math.min(doubled, MAX_BLOCK_BYTES)))
    this.#dropBlock()
    this.#block = block
    return block
  }

  #dropBlock(): void {
    this.#block = undefined
    this.#blockUsed = 0
    this.#growable = 0
  }

  #compact(): void {
    if (this.#first === this.#pieces.length) {
      // All that is held was acknowledged: an idle tunnel keeps no block.
      this.#pieces = []
      this.#first = 0
      this.#moveCursor(0)
      this.#dropBlock()
    } else if (this.#first >= COMPACT_AT) {
      this.#pieces = this.#pieces.slice(this.#first)
      this.#cursor -= this.#first
      this.#first = 0
    }
  }
}

const NOTHING = Buffer.alloc(0)
const NEVER = -1
