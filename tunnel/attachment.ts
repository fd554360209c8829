// Whether a tunnel has a connection at the moment, and who waits for one.

import type { Clock } from './clock.ts'

export class Attachment {
  readonly #clock: Clock
  readonly #handlers = new Set<(isAttached: boolean) => void>()
  readonly #waiting = new Set<() => void>()
  #isAttached: boolean
  #isOver = false

  constructor(isAttached: boolean, clock: Clock) {
    this.#isAttached = isAttached
    this.#clock = clock
  }

  get isAttached(): boolean {
    return this.#isAttached && !this.#isOver
  }

  set(isAttached: boolean): void {
    if (this.#isOver || this.#isAttached === isAttached) return
    this.#isAttached = isAttached
    if (isAttached) this.#tellWaiting()
    for (const handler of [...this.#handlers]) handler(isAttached)
  }

  /** @returns what ends the watch */
  watch(handler: (isAttached: boolean) => void): () => void {
    this.#handlers.add(handler)
    return () => this.#handlers.delete(handler)
  }

  /** There will be no connection any more. */
  end(): void {
    this.#isOver = true
    this.#tellWaiting()
  }

  /** Resolves at once when nothing is to be waited for; rejects with the signal's reason. */
  async wait(ms: number, signal?: AbortSignal): Promise<boolean> {
    signal?.throwIfAborted()
    if (this.#isAttached || this.#isOver) return this.isAttached
    await new Promise<void>((resolve) => {
      const done = () => {
        timer.cancel()
        signal?.removeEventListener('abort', done)
        this.#waiting.delete(done)
        resolve()
      }
      const timer = this.#clock.after(ms, done)
      signal?.addEventListener('abort', done)
      this.#waiting.add(done)
    })
    signal?.throwIfAborted()
    return this.isAttached
  }

  #tellWaiting(): void {
    for (const done of [...this.#waiting]) done()
  }
}
