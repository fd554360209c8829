// Pings that wait for their answer. Each has a deadline; the session's end rejects them all. Answers tell the round trip.

import type { Clock, Timer } from './clock.ts'
import { TunnelError } from './errors.ts'
import { MAX_UINT32 } from './frame.ts'

/** How much of a new measurement goes into the smoothed round trip (RFC 6298, 2.3). */
const SMOOTHING = 1 / 8

/** The shortest round trip of about this long counts: the way may become longer. */
const LEAST_OF_MS = 300_000
/** Of fewer measurements the shortest says little: the first one meets a process that is just starting. */
export const ENOUGH_SAMPLES = 3

interface PendingPing {
  readonly sentAt: number
  readonly timer: Timer
  readonly resolve: (ms: number) => void
  readonly reject: (error: Error) => void
}

export class Pings {
  readonly #timeoutMs: number
  readonly #clock: Clock
  readonly #pending = new Map<number, PendingPing>()
  #nextValue = 0
  #smoothedMs: number | undefined
  #samples = 0
  /** The shortest of the present period, which began then, and of the one before. */
  #leastMs = Number.POSITIVE_INFINITY
  #leastMsBefore = Number.POSITIVE_INFINITY
  #leastSince = Number.NEGATIVE_INFINITY
  /** Pings that were sent before this tell no round trip. */
  #measuredSince = Number.NEGATIVE_INFINITY

  constructor(timeoutMs: number, clock: Clock) {
    this.#timeoutMs = timeoutMs
    this.#clock = clock
  }

  get smoothedMs(): number | undefined {
    return this.#smoothedMs
  }

  /** The shortest of late: the way itself, without the queues that our own bytes stand in. */
  get leastMs(): number | undefined {
    return this.#samples < ENOUGH_SAMPLES ? undefined : Math.min(this.#leastMs, this.#leastMsBefore)
  }

  get pending(): number {
    return this.#pending.size
  }

  /** Sends a ping through `send`; resolves with the round trip in ms. */
  ping(send: (value: number) => void): Promise<number> {
    const value = this.#nextValue
    this.#nextValue = value === MAX_UINT32 ? 0 : value + 1
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(this.#timeoutMs, () => this.#expire(value))
      this.#pending.set(value, { sentAt: this.#clock.now(), timer, resolve, reject })
      send(value)
    })
  }

  /** An answer arrived; one that nobody waits for is ignored. */
  answered(value: number): void {
    const ping = this.#take(value)
    if (ping === undefined) return
    const now = this.#clock.now()
    const ms = now - ping.sentAt
    if (ping.sentAt >= this.#measuredSince) this.#sample(ms, now)
    ping.resolve(ms)
  }

  /** What is under way was held up by something else than the way. */
  forgetTimes(): void {
    this.#samples = 0
    this.#leastSince = Number.NEGATIVE_INFINITY
    this.#measuredSince = this.#clock.now()
  }

  rejectAll(error: Error): void {
    for (const value of [...this.#pending.keys()]) this.#take(value)?.reject(error)
  }

  #sample(ms: number, now: number): void {
    this.#smoothedMs = this.#smoothedMs === undefined ? ms : this.#smoothedMs + SMOOTHING * (ms - this.#smoothedMs)
    if (now - this.#leastSince >= LEAST_OF_MS) {
      this.#leastMsBefore = this.#samples === 0 ? Number.POSITIVE_INFINITY : this.#leastMs
      this.#leastMs = Number.POSITIVE_INFINITY
      this.#leastSince = now
    }
    this.#samples += 1
    this.#leastMs = Math.min(this.#leastMs, ms)
  }

  #expire(value: number): void {
    const message = `the other side of the tunnel did not answer a ping within ${this.#timeoutMs} ms`
    this.#take(value)?.reject(new TunnelError('TUNNEL_PING_TIMEOUT', message))
  }

  #take(value: number): PendingPing | undefined {
    const ping = this.#pending.get(value)
    ping?.timer.cancel()
    this.#pending.delete(value)
    return ping
  }
}
