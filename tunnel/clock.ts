// Time, as the tunnel sees it. Tests put their own in, so that 60 s pass in no time and always in the same order.

export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Milliseconds since some fixed moment; never goes back. */
  now(): number
  /** Calls back once; does not keep the process alive. */
  after(ms: number, callback: () => void): Timer
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms)
    timer.unref()
    return { cancel: () => clearTimeout(timer) }
  },
}
