/** How often one launch may dial: an agent that comes and goes without end costs a row in the log each time. */
import { RclaudeError } from '../../protocol/errors.ts'
import type { LaunchId } from '../../protocol/ids.ts'

const WINDOW_MS = 60_000

export class DialLimit {
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
    const dials = this.#dials.get(launchId) ?? []
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
    this.#dials.set(launchId, dials)
  }

  #forget(now: number): void {
    for (const [launchId, dials] of this.#dials) {
      while (dials[0] !== undefined && dials[0] <= now - WINDOW_MS) dials.shift()
      if (dials.length === 0) this.#dials.delete(launchId)
    }
  }
}
