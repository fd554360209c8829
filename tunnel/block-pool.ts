// Blocks of one size for what is sent in bulk, used again and again: a new buffer for each write had the garbage collector
// busy for a third of the time, for V8 collects everything when buffers outside its heap come and go by the hundred MB.
//
// A block that is never given back is collected like any other buffer, so whoever can't tell whether somebody still reads
// from one just drops it.

import { HEADER_BYTES, MAX_FRAME_PAYLOAD } from './frame.ts'

/** What a pool keeps while it is not in use: 4 MiB of 64 KiB blocks. */
const MAX_FREE_BLOCKS = 64

export class BlockPool {
  readonly #blockBytes: number
  readonly #free: Buffer[] = []
  readonly #lent = new WeakSet<ArrayBufferLike>()

  constructor(blockBytes: number) {
    this.#blockBytes = blockBytes
  }

  get free(): number {
    return this.#free.length
  }

  /** `length` bytes of unknown content; in a block when they fill at least half of one, else in a buffer of their own. */
  take(length: number): Buffer {
    if (length < this.#blockBytes / 2 || length > this.#blockBytes) return Buffer.allocUnsafe(length)
    const block = this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#blockBytes)
    this.#lent.add(block.buffer)
    return block.subarray(0, length)
  }

  /** Nobody reads from `bytes` any more. Does nothing when they are not (or no longer) out of this pool. */
  giveBack(bytes: Buffer): void {
    if (!this.#lent.delete(bytes.buffer)) return
    if (this.#free.length < MAX_FREE_BLOCKS) this.#free.push(Buffer.from(bytes.buffer))
  }
}

/** Frames are gathered into one write of about this size: four full ones, and control frames before them. */
export const WRITE_BYTES = 4 * (HEADER_BYTES + MAX_FRAME_PAYLOAD) + 1024
/** For these writes (send-queue.ts). Who sent one for good gives it back (replay-buffer.ts). */
export const writeBlocks = new BlockPool(WRITE_BYTES)
