// One direction of the wire of pair-target.ts: what was written waits until the fuzzer delivers it.

import type { Transport, TransportReceiver } from '../../../tunnel/transport.ts'

/** Small pieces in one delivery: more of them cost time and show nothing new. */
const MAX_CUTS = 40

export class PairWire {
  readonly #capacity: number
  #queue: Buffer[] = []
  #queued = 0
  #writer: TransportReceiver | undefined
  #reader: TransportReceiver | undefined
  #isEnding = false
  isFull = false

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  get isEmpty(): boolean {
    return this.#queue.length === 0 && !this.#isEnding
  }

  /** The end that writes to this wire and reads from `other`. */
  transport(other: PairWire): Transport {
    return {
      start: (receiver) => {
        this.#writer = receiver
        other.#reader = receiver
      },
      write: (bytes) => {
        this.#queue.push(bytes)
        this.#queued += bytes.length
        this.isFull = this.#queued > this.#capacity
        return !this.isFull
      },
      close: async () => {
        this.#isEnding = true
      },
      destroy: () => {
        this.#isEnding = true
      },
    }
  }

  /** Delivers up to `max` bytes, the first of them cut into pieces of `cut` (0: as they were written). */
  deliver(max: number, cut: number): void {
    let cuts = cut > 0 ? MAX_CUTS : 0
    for (let left = max; left > 0; cuts -= 1) {
      const [first] = this.#queue
      if (first === undefined) break
      const length = Math.min(first.length, left, cuts > 0 ? cut : first.length)
      if (length === first.length) this.#queue.shift()
      else this.#queue[0] = first.subarray(length)
      this.#queued -= length
      left -= length
      this.#reader?.onBytes(first.subarray(0, length))
    }
    this.#makeRoom()
    if (this.#isEnding && this.#queue.length === 0) this.#end()
  }

  #makeRoom(): void {
    if (!this.isFull || this.#queued > this.#capacity / 2) return
    this.isFull = false
    this.#writer?.onDrain()
  }

  #end(): void {
    this.#isEnding = false
    const [writer, reader] = [this.#writer, this.#reader]
    this.#writer = undefined
    this.#reader = undefined
    writer?.onClose({ clean: true, message: 'the wire was closed' })
    reader?.onClose({ clean: true, message: 'the wire was closed' })
  }
}
