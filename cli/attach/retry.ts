/**
 * When to dial again: full jitter under a ceiling of half the time without a connection so far. So a short outage is never
 * made much longer by our own waiting, and a long one costs the gateway little.
 */

export interface RetryPolicy {
  /** The shortest wait; the first ceiling is twice as long. */
  minMs: number
  maxMs: number
  /** Without a connection for this long, we give up. */
  giveUpMs: number
}

export const RETRY: RetryPolicy = { minMs: 100, maxMs: 5_000, giveUpMs: 10 * 60_000 }

export class Retries {
  readonly policy: RetryPolicy
  readonly #random: () => number
  readonly #now: () => number
  #attempt = 0
  #lostAt = 0

  constructor(policy: RetryPolicy, random: () => number, now: () => number) {
    this.policy = policy
    this.#random = random
    this.#now = now
  }

  /** Tries since the last connection. */
  get attempt(): number {
    return this.#attempt
  }

  /** A connection came to be. */
  reset(): void {
    this.#attempt = 0
  }

  /** Undefined when it is time to give up. */
  next(): { attempt: number; delayMs: number } | undefined {
    const { minMs, maxMs, giveUpMs } = this.policy
    if (this.#attempt === 0) this.#lostAt = this.#now()
    const lostMs = this.#now() - this.#lostAt
    if (lostMs > giveUpMs) return undefined
    const ceiling = Math.min(maxMs, Math.max(2 * minMs, lostMs / 2))
    return { attempt: ++this.#attempt, delayMs: minMs + this.#random() * (ceiling - minMs) }
  }
}
