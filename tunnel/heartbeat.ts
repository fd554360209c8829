// The pings of a session: they find a peer that is gone (keepalive.ts) and tell how long the way is (pings.ts), which
// windows are tuned by and operators look at.

import { Keepalive } from './keepalive.ts'
import type { TunnelSettings } from './options.ts'
import { ENOUGH_SAMPLES, Pings } from './pings.ts'
import type { Tuner } from './receive-window.ts'

/** While windows may have to grow the round trip is measured this often. */
const MEASURE_WHEN_BUSY_MS = 250

export interface HeartbeatOptions {
  readonly sendPing: (value: number) => void
  readonly onSilence: (silentMs: number) => void
}

export class Heartbeat implements Tuner {
  readonly #settings: TunnelSettings
  readonly #sendPing: (value: number) => void
  readonly #pings: Pings
  readonly #keepalive: Keepalive | undefined
  #measuredAt = Number.NEGATIVE_INFINITY
  #isBeating = false

  constructor(settings: TunnelSettings, { sendPing, onSilence }: HeartbeatOptions) {
    this.#settings = settings
    this.#sendPing = sendPing
    this.#pings = new Pings(settings.pingTimeoutMs, settings.clock)
    const keepaliveOptions = { ...settings, sendPing: () => this.#pingOnly(), onDead: onSilence }
    this.#keepalive = settings.pingAfterMs > 0 ? new Keepalive(keepaliveOptions) : undefined
  }

  /** A connection begins. */
  begin(): void {
    this.#isBeating = true
    this.#pings.forgetTimes() // an outage is no round trip, and another way has another length
    this.#keepalive?.start()
    if (this.#keepalive !== undefined && this.#settings.measureEveryMs > 0) void this.#survey()
  }

  /** The connection is lost. */
  pause(): void {
    this.#isBeating = false
    this.#keepalive?.stop()
  }

  /** Something came. */
  touch(): void {
    this.#keepalive?.touch()
  }

  end(error: Error): void {
    this.pause()
    this.#pings.rejectAll(error)
  }

  ping(): Promise<number> {
    return this.#pings.ping(this.#sendPing)
  }

  answered(value: number): void {
    this.#pings.answered(value)
  }

  get smoothedMs(): number | undefined {
    return this.#pings.smoothedMs
  }

  // --- Tuner ---

  now(): number {
    return this.#settings.clock.now()
  }

  /** Asked for by windows that may have to grow, so it is measured when it matters. */
  roundTripMs(): number | undefined {
    const now = this.now()
    const isDue = now - this.#measuredAt >= MEASURE_WHEN_BUSY_MS || this.#pings.leastMs === undefined
    if (isDue && this.#pings.pending === 0) {
      this.#measuredAt = now
      this.#pingOnly()
    }
    return this.#pings.leastMs
  }

  // --- helpers ---

  /** The answer counts as a byte, and its time is kept; nobody waits for it. */
  #pingOnly(): void {
    void this.ping().catch(() => {})
  }

  /** At the start of a connection nothing stands in the way yet: that is when its length is to be had. */
  async #survey(): Promise<void> {
    try {
      for (let sample = 0; sample < ENOUGH_SAMPLES && this.#isBeating; sample += 1) await this.ping()
    } catch {
      // The connection is lost, or slower than any ping may be: the next one tells.
    }
  }
}
