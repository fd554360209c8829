// A transport without a wire: what the session writes is handed over at once, and room comes back only when the fuzzer
// says so. It also holds the session to the transport's rules.

import type { Transport, TransportReceiver } from '../../../tunnel/transport.ts'
import { must } from './target.ts'

export class MemoryTransport implements Transport {
  receiver: TransportReceiver | undefined
  /** write() returns false above this many bytes since the last drain. */
  capacity = Number.POSITIVE_INFINITY
  isFull = false
  isClosed = false
  writtenSinceDrain = 0
  readonly #onWrite: (bytes: Buffer, wasFull: boolean) => void

  constructor(onWrite: (bytes: Buffer, wasFull: boolean) => void) {
    this.#onWrite = onWrite
  }

  start(receiver: TransportReceiver): void {
    must(this.receiver === undefined, () => 'start() was called twice')
    this.receiver = receiver
  }

  write(bytes: Buffer): boolean {
    must(bytes.length > 0, () => 'an empty write')
    if (!this.isClosed) this.#onWrite(bytes, this.isFull)
    this.writtenSinceDrain += bytes.length
    this.isFull = this.writtenSinceDrain > this.capacity
    return !this.isFull
  }

  drain(): void {
    const wasFull = this.isFull
    this.isFull = false
    this.writtenSinceDrain = 0
    if (wasFull && !this.isClosed) this.receiver?.onDrain()
  }

  async close(): Promise<void> {
    if (!this.isClosed) queueMicrotask(() => this.end(true))
  }

  destroy(): void {
    if (!this.isClosed) queueMicrotask(() => this.end(false))
  }

  /** The connection is over, from either side. */
  end(clean: boolean): void {
    if (this.isClosed) return
    this.isClosed = true
    this.receiver?.onClose({ clean, message: 'the fuzzer' })
  }
}
