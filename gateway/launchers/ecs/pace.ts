/** How fast ECS may be asked: a bucket of tokens for each kind of call, as AWS has them for each account and region. */
import { setTimeout as pause } from 'node:timers/promises'

export class TokenBucket {
  readonly #burst: number
  readonly #perSecond: number
  #tokens: number
  #at = performance.now()

  constructor(burst: number, perSecond: number) {
    this.#burst = burst
    this.#perSecond = perSecond
    this.#tokens = burst
  }

  /** Waits for its turn. @throws the signal's reason */
  async take(signal?: AbortSignal): Promise<void> {
    const now = performance.now()
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) / 1000) * this.#perSecond)
    this.#at = now
    this.#tokens -= 1 // below zero is a debt: whoever comes next waits for it as well
    if (this.#tokens < 0) await pause((-this.#tokens / this.#perSecond) * 1000, undefined, signal ? { signal } : {})
    signal?.throwIfAborted()
  }
}

/**
 * AmazonECS/latest/APIReference/request-throttling.html: burst and calls a second. RunTask on Fargate has its own, 20 and 20; stops
 * have theirs here, so that a hundred launches that wait never keep a machine alive that is paid for.
 */
export const newBuckets = () => ({
  run: new TokenBucket(20, 20),
  stop: new TokenBucket(40, 20),
  read: new TokenBucket(100, 20),
  register: new TokenBucket(20, 1),
})
export type Buckets = ReturnType<typeof newBuckets>
