// Moves frames from the send queue to the transport while that has room. What is queued in one turn of the event loop
// travels in one write.

import { encodeHeader, type FrameHeader } from './frame.ts'
import { SendQueue } from './send-queue.ts'
import type { TunnelStream } from './stream.ts'
import type { Transport } from './transport.ts'

export class Sender {
  bytesSent = 0
  readonly #transport: Transport
  readonly #queue = new SendQueue()
  #isDue = false
  #isFull = false
  #isStopped = false

  constructor(transport: Transport) {
    this.#transport = transport
  }

  /** Queues a frame without payload; throws a protocol error when too many wait already. */
  control(frame: FrameHeader): void {
    this.#queue.addControl(frame)
    this.#flushLater()
  }

  /** The stream has data or a FIN to send, or may have. */
  stream(stream: TunnelStream): void {
    this.#queue.addStream(stream)
    this.#flushLater()
  }

  /** The stream owes its peer a window update. */
  credit(stream: TunnelStream): void {
    this.#queue.addCredit(stream)
    this.#flushLater()
  }

  forget(stream: TunnelStream): void {
    this.#queue.remove(stream)
  }

  /** The transport has room again. */
  drained(): void {
    this.#isFull = false
    this.#flush()
  }

  /** Sends nothing more but `lastFrame`, which goes out even if the transport is full. */
  stop(lastFrame?: FrameHeader): void {
    this.#isStopped = true
    if (lastFrame !== undefined) this.#write(encodeHeader(lastFrame))
  }

  #flushLater(): void {
    if (this.#isDue || this.#isFull || this.#isStopped) return
    this.#isDue = true
    queueMicrotask(() => {
      this.#isDue = false
      this.#flush()
    })
  }

  #flush(): void {
    while (!this.#isFull && !this.#isStopped) {
      const batch = this.#queue.nextBatch()
      if (batch === undefined) return
      this.#isFull = !this.#write(batch.bytes)
      for (const done of batch.done) done()
    }
  }

  #write(bytes: Buffer): boolean {
    this.bytesSent += bytes.length
    return this.#transport.write(bytes)
  }
}
