// A clock that only moves when told, put in the place of the global one while an execution runs. So deadlines can be
// crossed at once, the same input does the same thing every time, and timers that are left behind can be counted.

interface VirtualTimer {
  readonly at: number
  readonly run: () => void
}

export class VirtualTime {
  #now = 0
  #nextId = 1
  readonly #timers = new Map<number, VirtualTimer>()
  readonly #real = { setTimeout, clearTimeout, now: performance.now }

  get pending(): number {
    return this.#timers.size
  }

  get now(): number {
    return this.#now
  }

  #install(): void {
    const set = (run: () => void, ms = 0) => this.#set(run, ms)
    const clear = (timer: unknown) => void this.#timers.delete(Number(timer))
    Object.assign(globalThis, { setTimeout: set, clearTimeout: clear })
    performance.now = () => this.#now
  }

  /** One execution in a time of its own. */
  async during<T>(execute: () => Promise<T>): Promise<T> {
    this.#reset()
    this.#install()
    try {
      return await execute()
    } finally {
      this.#uninstall()
    }
  }

  #uninstall(): void {
    Object.assign(globalThis, { setTimeout: this.#real.setTimeout, clearTimeout: this.#real.clearTimeout })
    performance.now = this.#real.now
  }

  /** Starts anew; what was pending is forgotten. */
  #reset(): void {
    this.#timers.clear()
    this.#now = 0
  }

  /** Moves on by `ms` and runs what came due, in order. */
  advance(ms: number): void {
    const until = this.#now + ms
    for (;;) {
      const next = this.#earliest()
      if (next === undefined || next[1].at > until) break
      this.#timers.delete(next[0])
      this.#now = Math.max(this.#now, next[1].at)
      next[1].run()
    }
    this.#now = until
  }

  #set(run: () => void, ms: number): object {
    const id = this.#nextId
    this.#nextId += 1
    this.#timers.set(id, { at: this.#now + Math.max(1, Math.trunc(ms)), run })
    const timer = { ref: () => timer, unref: () => timer, hasRef: () => false, [Symbol.toPrimitive]: () => id }
    return timer
  }

  #earliest(): [number, VirtualTimer] | undefined {
    let earliest: [number, VirtualTimer] | undefined
    for (const entry of this.#timers) if (earliest === undefined || entry[1].at < earliest[1].at) earliest = entry
    return earliest
  }
}
