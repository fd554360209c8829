/** How often one launch may dial: an agent that comes and goes without end costs a row in the log each time. */
import { RclaudeError } from '../../protocol/errors.ts'
import type { LaunchId } from '../../protocol/ids.ts'

/** An honest agent waits between dials, up to 10 s; a gateway that restarts now and then fits in as well. */
export const MAX_DIALS = 120
const WINDOW_MS = 60_000

export class DialLimit {
  readonly #dials = new Map<LaunchId, number[]>()
  readonly #now: () => number

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  /** @throws RclaudeError `limit` */
  count(launchId: LaunchId): void {
    const now = this.#now()
    this.#forget(now)
    const dials = this.#dials.get(launchId) ?? []
    const [oldest = now] = dials
    if (dials.length >= MAX_DIALS)
      throw new RclaudeError('limit', `more than ${MAX_DIALS} dials of this agent in a minute`, {
        retryAfterSeconds: Math.ceil((oldest + WINDOW_MS - now) / 1000),
      })
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
