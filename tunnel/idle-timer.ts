// The idle timer behind a stream's setTimeout(): like net.Socket's it fires after `ms` without traffic, again and again.
// Traffic only notes the time; the timer looks at the note when it fires, so that a busy stream pays nothing.

export class IdleTimer {
  readonly #onIdle: () => void
  #ms = 0
  #lastActivity = 0
  #timer: NodeJS.Timeout | undefined

  constructor(onIdle: () => void) {
    this.#onIdle = onIdle
  }

  /** Starts anew with `ms`; 0 turns it off. */
  set(ms: number): void {
    this.stop()
    this.#ms = ms
    if (ms <= 0) return
    this.touch()
    this.#arm(ms)
  }

  touch(): void {
    if (this.#ms > 0) this.#lastActivity = performance.now()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#ms = 0
  }

  #arm(ms: number): void {
    this.#timer = setTimeout(() => this.#check(), ms)
    this.#timer.unref()
  }

  #check(): void {
    const left = this.#lastActivity + this.#ms - performance.now()
    if (left > 0.5) {
      this.#arm(Math.ceil(left))
    } else {
      this.touch()
      this.#arm(this.#ms)
      this.#onIdle()
    }
  }
}
