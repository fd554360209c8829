/**
 * A gateway that is asked too much answers 429 and says when to come again. This does, says so once for each wait, and
 * gives up when it would take too long in sum.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { formatSeconds } from '../protocol/units.ts'

/** What one request waits at most, over all its tries. */
export const MAX_WAIT_SECONDS = 600
const MIN_WAIT_SECONDS = 1

export interface Patience {
  /** Seconds; 0 takes the first refusal as the answer. */
  maxWaitSeconds: number
  say: (text: string) => void
}

/** @returns a `fetch` that honours `Retry-After` of 429 answers; a body that is a stream cannot be sent again */
export function patientFetch({ maxWaitSeconds, say }: Patience, inner: typeof fetch = fetch): typeof fetch {
  return async (input, init) => {
    let leftSeconds = maxWaitSeconds
    for (;;) {
      const response = await inner(input, init)
      const wanted = response.status === 429 ? retryAfterSeconds(response.headers.get('retry-after')) : undefined
      if (wanted === undefined || wanted > leftSeconds || init?.body instanceof ReadableStream) return response
      await response.body?.cancel()
      say(`the gateway is at a limit; trying again in ${formatSeconds(wanted)}`)
      leftSeconds -= wanted
      await pause(wanted * 1000, undefined, init?.signal ? { signal: init.signal } : {})
    }
  }
}

/** RFC 9110 10.2.3: seconds, or a date. */
function retryAfterSeconds(header: string | null): number | undefined {
  if (header === null) return undefined
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000
  return Number.isNaN(seconds) ? undefined : Math.max(MIN_WAIT_SECONDS, seconds)
}
