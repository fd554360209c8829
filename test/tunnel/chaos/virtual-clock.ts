// Time that passes only when nothing else is left to be done: minutes of waiting take milliseconds, always in one order.

import type { Clock, Timer } from '../../../tunnel/clock.ts'

interface Entry {
  readonly at: number
  readonly callback: () => void
}

export class VirtualClock implements Clock {
  #now = 0
  /** The earliest last; among equals the one that was set first last. */
  readonly #entries: Entry[] = []

  now(): number {
    return this.#now
  }

  get pending(): number {
    return this.#entries.length
  }

  after(ms: number, callback: () => void): Timer {
    const entry = { at: this.#now + Math.max(0, ms), callback }
    let low = 0
    let high = this.#entries.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#entries[middle]?.at ?? 0) > entry.at) low = middle + 1
      else high = middle
    }
    this.#entries.splice(low, 0, entry)
    return {
      cancel: () => {
        const index = this.#entries.indexOf(entry)
        if (index >= 0) this.#entries.splice(index, 1)
      },
    }
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve))
  }

  /** Lets time pass until `isDone`, or until `untilMs`, or until nothing is waited for. Returns isDone's last word. */
  async run(isDone: () => boolean, untilMs: number): Promise<boolean> {
    for (;;) {
      // Everything that follows from the last step: promises and ticks all run before an immediate.
      await new Promise((resolve) => setImmediate(resolve))
      if (isDone()) return true
      const next = this.#entries.at(-1)
      if (next === undefined || next.at > untilMs) return false
      this.#comeTo(next)
    }
  }

  /** Lets so much time pass at once: callbacks come in their order, and nothing else in between. */
  pass(ms: number): void {
    const until = this.#now + ms
    for (let next = this.#entries.at(-1); next !== undefined && next.at <= until; next = this.#entries.at(-1))
      this.#comeTo(next)
    this.#now = until
  }

  /** `entry` is the earliest. */
  #comeTo(entry: Entry): void {
    this.#entries.pop()
    this.#now = entry.at
    entry.callback()
  }
}
