// Finds a peer that is gone although nothing said so (cable pulled, laptop asleep, a relay gone silent): after `pingAfterMs`
// without a byte a ping is sent, again each time that much passes, and after `deadAfterMs` the session is dead. Any byte
// counts as life. The pings also keep middle boxes from cutting idle connections (60 s at ALB and nginx).

/** After our own standstill the peer gets this long to say something. */
const BLOCKED_GRACE_MS = 1_000

export interface KeepaliveOptions {
  readonly pingAfterMs: number
  readonly deadAfterMs: number
  readonly sendPing: () => void
  readonly onDead: (silentMs: number) => void
}

export class Keepalive {
  readonly #options: KeepaliveOptions
  #lastByteAt = performance.now()
  #dueAt = 0
  #timer: NodeJS.Timeout | undefined

  constructor(options: KeepaliveOptions) {
    this.#options = options
    this.#arm(options.pingAfterMs)
  }

  /** Bytes arrived. */
  touch(): void {
    this.#lastByteAt = performance.now()
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  #arm(ms: number): void {
    this.#dueAt = performance.now() + ms
    this.#timer = setTimeout(() => this.#check(), ms)
    this.#timer.unref()
  }

  #check(): void {
    const { pingAfterMs, deadAfterMs } = this.#options
    const now = performance.now()
    const silentMs = now - this.#lastByteAt
    // Our own event loop (or machine) stood still: bytes may lie unread in the socket, so ask and look again soon.
    const wasBlocked = now - this.#dueAt > pingAfterMs
    // Node's timers may fire up to 1 ms early.
    if (silentMs < pingAfterMs - 1) {
      this.#arm(pingAfterMs - silentMs)
    } else if (silentMs >= deadAfterMs - 1 && !wasBlocked) {
      this.#options.onDead(silentMs)
    } else {
      const untilDeadMs = Math.max(1, deadAfterMs - silentMs)
      this.#arm(Math.min(pingAfterMs, wasBlocked ? BLOCKED_GRACE_MS : untilDeadMs))
      this.#options.sendPing()
    }
  }
}
