// How long to wait before the next attempt. Full jitter: a random time below a ceiling that doubles, so that two thousand
// agents that lost the same gateway don't come back in step.

export interface BackoffOptions {
  /** The shortest wait. Default 100 ms. */
  readonly minMs?: number
  /** The ceiling of the first wait. Default 1 s. */
  readonly firstCeilingMs?: number
  /** The longest wait. Default 10 s. */
  readonly maxMs?: number
  /** 0 <= n < 1, as Math.random. */
  readonly random?: () => number
}

export class Backoff {
  readonly #minMs: number
  readonly #firstCeilingMs: number
  readonly #maxMs: number
  readonly #random: () => number
  #failures = 0

  constructor(options: BackoffOptions = {}) {
    this.#minMs = options.minMs ?? 100
    this.#firstCeilingMs = options.firstCeilingMs ?? 1_000
    this.#maxMs = options.maxMs ?? 10_000
    this.#random = options.random ?? Math.random
  }

  /** The next wait in ms, never shorter than `atLeastMs` (a server's Retry-After), which gets jitter on top. */
  next(atLeastMs = 0): number {
    // 2 ** 20 is far beyond any ceiling and far below where numbers get inexact.
    const ceiling = Math.min(this.#maxMs, this.#firstCeilingMs * 2 ** Math.min(this.#failures, 20))
    this.#failures += 1
    const jitter = this.#minMs + this.#random() * Math.max(0, ceiling - this.#minMs)
    return atLeastMs > 0 ? atLeastMs + jitter : jitter
  }

  /** A connection held: start from the first ceiling again. */
  reset(): void {
    this.#failures = 0
  }
}
