/** The gateway says with each answer when the token ends; when that is soon, the user is told, once. */
import { EXPIRES_HEADER } from '../protocol/version.ts'
import { roughly } from './times.ts'

const SOON_SECONDS = 7 * 86_400

/** @returns a `fetch` that looks at the first answer which says when the token ends */
export function watchExpiry(say: (text: string) => void, inner: typeof fetch = fetch, now = Date.now): typeof fetch {
  const note = noteExpiry(say, now)
  return async (input, init) => {
    const response = await inner(input, init)
    const at = response.headers.get(EXPIRES_HEADER)
    if (at !== null) note(at)
    return response
  }
}

/** @returns to be told when the token ends; only the first time counts */
export function noteExpiry(say: (text: string) => void, now = Date.now): (at: string) => void {
  let isLooking = true
  return (at) => {
    const leftSeconds = (Date.parse(at) - now()) / 1000
    if (isLooking && leftSeconds < SOON_SECONDS)
      say(`! your token ends in ${roughly(leftSeconds)} (${at}): have it renewed with rclaude token rotate`)
    isLooking = false
  }
}
