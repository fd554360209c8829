/** How often one launch may dial: an agent that comes and goes without end costs a row in the log each time. */
import { RclaudeError } from '../../protocol/errors.ts'
import type { LaunchId } from '../../protocol/ids.ts'

const WINDOW_MS = 60_000

export class DialLimit {
  /** Oldest last dial first. */
  readonly #dials = new Map<LaunchId, number[]>()
  readonly #perMinute: number
  readonly #now: () => number

  /** @param perMinute an honest agent waits between dials, up to 10 s; a gateway that restarts now and then fits in too */
  constructor(perMinute: number, now: () => number = Date.now) {
    this.#perMinute = perMinute
    this.#now = now
  }

  /** @throws RclaudeError `limit` */
  count(launchId: LaunchId): void {
    const now = this.#now()
    this.#forget(now)
    const dials = (this.#dials.get(launchId) ?? []).filter((at) => at > now - WINDOW_MS)
    const [oldest = now] = dials
    if (dials.length >= this.#perMinute)
      throw new RclaudeError(
        'limit',
        `this agent has dialled ${this.#perMinute} times within a minute (limits.dialsPerMinute)`,
        {
          retryAfterSeconds: Math.ceil((oldest + WINDOW_MS - now) / 1000),
        },
      )
    dials.push(now)
    this.#dials.delete(launchId) // to its end: whoever dialled last is forgotten last
    this.#dials.set(launchId, dials)
  }

  #forget(now: number): void {
    for (const [launchId, dials] of this.#dials) {
      if ((dials.at(-1) ?? 0) > now - WINDOW_MS) return
      this.#dials.delete(launchId)
    }
  }
}
