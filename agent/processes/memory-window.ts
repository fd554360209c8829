/**
 * The newest bytes of one output channel, in memory: appended at the end, dropped from the front, addressed by the
 * channel's offsets. It has no bound of its own; the journal stops reading the process's pipe when it is full.
 */

/** Smaller chunks are copied together, so that a process writing byte by byte costs bytes and not objects. */
const BLOCK_BYTES = 16 * 1024

interface Block {
  offset: number
  bytes: Buffer
  /** Bytes of `bytes` in use; less than its length only in the last block. */
  used: number
}

export class MemoryWindow {
  #blocks: Block[] = []
  #start = 0
  #end = 0

  /** Oldest byte held. */
  get start(): number {
    return this.#start
  }

  /** Offset of the next byte to come. */
  get end(): number {
    return this.#end
  }

  get held(): number {
    return this.#end - this.#start
  }

  /** The window keeps `bytes`; the caller must not change them afterwards. */
  append(bytes: Buffer): void {
    if (bytes.length === 0) return
    const last = this.#blocks.at(-1)
    if (last !== undefined && last.bytes.length - last.used >= bytes.length) {
      bytes.copy(last.bytes, last.used)
      last.used += bytes.length
    } else if (bytes.length >= BLOCK_BYTES / 2) {
      this.#blocks.push({ offset: this.#end, bytes, used: bytes.length })
    } else {
      const block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
      bytes.copy(block)
      this.#blocks.push({ offset: this.#end, bytes: block, used: bytes.length })
    }
    this.#end += bytes.length
  }

  /** Bytes from `offset` on, at most `max`: what one block holds of them. `offset` must be held. */
  read(offset: number, max: number): Buffer {
    const block = this.#blockAt(offset)
    const from = offset - block.offset
    return block.bytes.subarray(from, Math.min(block.used, from + max))
  }

  /** The oldest bytes, at most `max`, without a copy. */
  oldest(max: number): Buffer[] {
    const slices: Buffer[] = []
    for (let offset = this.#start; offset < this.#end && offset - this.#start < max; ) {
      const slice = this.read(offset, max - (offset - this.#start))
      slices.push(slice)
      offset += slice.length
    }
    return slices
  }

  /** Forgets everything before `offset`. */
  dropBefore(offset: number): void {
    this.#start = Math.max(this.#start, Math.min(offset, this.#end))
    const keep = this.#blocks.findIndex((block) => block.offset + block.used > this.#start)
    this.#blocks.splice(0, keep === -1 ? this.#blocks.length : keep)
  }

  #blockAt(offset: number): Block {
    let low = 0
    let high = this.#blocks.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((this.#blocks[middle]?.offset ?? 0) <= offset) low = middle
      else high = middle - 1
    }
    const block = this.#blocks[low]
    if (block === undefined || offset < this.#start || offset >= this.#end)
      throw new RangeError(`byte ${offset} is not in the window ${this.#start}-${this.#end}`)
    return block
  }
}
