// Streams that we opened and of which the peer has said nothing yet. A peer that never answers a SYN would otherwise hold
// whoever waits on the stream for ever. One timer for all of them: they come in the order of their deadlines.

import type { Clock, Timer } from './clock.ts'
import { TunnelError } from './errors.ts'
import type { TunnelStream } from './stream.ts'

export class AcceptDeadline {
  readonly #timeoutMs: number
  readonly #clock: Clock
  /** When each was opened. */
  readonly #openedAt = new Map<TunnelStream, number>()
  #timer: Timer | undefined

  constructor(timeoutMs: number, clock: Clock) {
    this.#timeoutMs = timeoutMs
    this.#clock = clock
  }

  opened(stream: TunnelStream): void {
    if (this.#timeoutMs <= 0) return
    this.#openedAt.set(stream, this.#clock.now())
    this.#timer ??= this.#clock.after(this.#timeoutMs, () => this.#check())
  }

  /** The peer said something about it, or it is over. */
  forget(stream: TunnelStream): void {
    if (this.#openedAt.size > 0) this.#openedAt.delete(stream)
  }

  /** A connection came back: what passed without one counts for nobody. */
  restart(): void {
    const now = this.#clock.now()
    for (const stream of this.#openedAt.keys()) this.#openedAt.set(stream, now)
  }

  stop(): void {
    this.#timer?.cancel()
    this.#openedAt.clear()
  }

  #check(): void {
    this.#timer = undefined
    const now = this.#clock.now()
    for (const [stream, openedAt] of this.#openedAt) {
      const leftMs = openedAt + this.#timeoutMs - now
      if (leftMs > 1) {
        this.#timer = this.#clock.after(leftMs, () => this.#check())
        return
      }
      this.#openedAt.delete(stream)
      const message = `the other side of the tunnel did not accept stream ${stream.id} within ${this.#timeoutMs / 1000} s`
      stream.destroy(new TunnelError('TUNNEL_STREAM_TIMEOUT', message))
    }
  }
}
