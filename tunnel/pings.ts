// Pings that wait for their answer. Each has a deadline; the session's end rejects them all.

import { TunnelError } from './errors.ts'
import { MAX_UINT32 } from './frame.ts'

interface PendingPing {
  readonly sentAt: number
  readonly timer: NodeJS.Timeout
  readonly resolve: (ms: number) => void
  readonly reject: (error: Error) => void
}

export class Pings {
  readonly #timeoutMs: number
  readonly #pending = new Map<number, PendingPing>()
  #nextValue = 0

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs
  }

  /** Sends a ping through `send`; resolves with the round trip in ms. */
  ping(send: (value: number) => void): Promise<number> {
    const value = this.#nextValue
    this.#nextValue = value === MAX_UINT32 ? 0 : value + 1
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#expire(value), this.#timeoutMs)
      timer.unref()
      this.#pending.set(value, { sentAt: performance.now(), timer, resolve, reject })
      send(value)
    })
  }

  /** An answer arrived; one that nobody waits for is ignored. */
  answered(value: number): void {
    const ping = this.#take(value)
    ping?.resolve(performance.now() - ping.sentAt)
  }

  rejectAll(error: Error): void {
    for (const value of [...this.#pending.keys()]) this.#take(value)?.reject(error)
  }

  #expire(value: number): void {
    const message = `the other side of the tunnel did not answer a ping within ${this.#timeoutMs} ms`
    this.#take(value)?.reject(new TunnelError('TUNNEL_PING_TIMEOUT', message))
  }

  #take(value: number): PendingPing | undefined {
    const ping = this.#pending.get(value)
    clearTimeout(ping?.timer)
    this.#pending.delete(value)
    return ping
  }
}
