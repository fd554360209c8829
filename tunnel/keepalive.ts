// Finds a peer that is gone although nothing said so (cable pulled, laptop asleep, a relay gone silent): after `pingAfterMs`
// without a byte a ping is sent, again each time that much passes, and after `deadAfterMs` the connection is dead. Any byte
// counts as life. The pings also keep middle boxes from cutting idle connections (60 s at ALB and nginx), and tell the
// round trip, at least every `measureEveryMs`, also on a busy tunnel.

import type { Clock, Timer } from './clock.ts'

/** After our own standstill the peer gets this long to say something. */
const BLOCKED_GRACE_MS = 1_000

export interface KeepaliveOptions {
  readonly pingAfterMs: number
  readonly deadAfterMs: number
  /** 0: never only to measure. */
  readonly measureEveryMs: number
  readonly clock: Clock
  readonly sendPing: () => void
  readonly onDead: (silentMs: number) => void
}

export class Keepalive {
  readonly #options: KeepaliveOptions
  #lastByteAt = 0
  #lastPingAt = 0
  #dueAt = 0
  #timer: Timer | undefined

  constructor(options: KeepaliveOptions) {
    this.#options = options
  }

  /** Begins, or begins anew with a fresh connection: silence before it counts no more. */
  start(): void {
    this.stop()
    this.#lastByteAt = this.#options.clock.now()
    this.#lastPingAt = this.#lastByteAt
    this.#arm(this.#options.pingAfterMs)
  }

  /** Bytes arrived. */
  touch(): void {
    this.#lastByteAt = this.#options.clock.now()
  }

  stop(): void {
    this.#timer?.cancel()
  }

  #arm(ms: number): void {
    this.#dueAt = this.#options.clock.now() + ms
    this.#timer = this.#options.clock.after(ms, () => this.#check())
  }

  #check(): void {
    const { pingAfterMs, deadAfterMs, clock } = this.#options
    const now = clock.now()
    const silentMs = now - this.#lastByteAt
    // Our own event loop (or machine) stood still: bytes may lie unread in the socket, so ask and look again soon.
    const wasBlocked = now - this.#dueAt > pingAfterMs
    // Node's timers may fire up to 1 ms early.
    if (silentMs < pingAfterMs - 1) {
      this.#arm(pingAfterMs - silentMs)
      this.#measureIfDue(now)
    } else if (silentMs >= deadAfterMs - 1 && !wasBlocked) {
      this.#options.onDead(silentMs)
    } else {
      const untilDeadMs = Math.max(1, deadAfterMs - silentMs)
      this.#arm(Math.min(pingAfterMs, wasBlocked ? BLOCKED_GRACE_MS : untilDeadMs))
      this.#ping(now)
    }
  }

  #measureIfDue(now: number): void {
    const { measureEveryMs } = this.#options
    if (measureEveryMs > 0 && now - this.#lastPingAt >= measureEveryMs) this.#ping(now)
  }

  #ping(now: number): void {
    this.#lastPingAt = now
    this.#options.sendPing()
  }
}
