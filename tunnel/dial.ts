// Keeps one connection alive: connect, hand the session over, wait until it ends, wait a jittered moment, connect again.
// It gives up only when the signal aborts (resolves) or the server's answer says that trying again is useless (rejects).
//
//   await keepDialled({ connect, onSession, signal })
//
// `onSession` settles when its session is over. A session that was short counts as a failure for the back-off, so that
// a server that accepts and drops is not hammered.

import { setTimeout as sleep } from 'node:timers/promises'
import { Backoff, type BackoffOptions } from './backoff.ts'
import { UpgradeRefused } from './errors.ts'

/** HTTP answers after which no retry can help: not authorised (401, 403), gone (410), our protocol is too old (426). */
const FINAL_STATUSES: readonly number[] = [401, 403, 410, 426]
/** A Retry-After beyond this is taken as this, so that one wrong header can't silence an agent for a day. */
const MAX_RETRY_AFTER_MS = 5 * 60_000
/** A session that lasted this long makes the back-off start anew. */
const STABLE_AFTER_MS = 10_000

export interface DialOptions<Session> {
  /** One attempt; must reject when `signal` aborts, and by its own deadline. */
  readonly connect: (signal: AbortSignal) => Promise<Session>
  /** Uses the session; settles when it is over. When the signal aborts, closing the session is its business. */
  readonly onSession: (session: Session, signal: AbortSignal) => Promise<unknown>
  readonly signal: AbortSignal
  /** Told before each wait, for logs. `error` is what connect or onSession rejected with. */
  readonly onRetry?: (retry: { failures: number; delayMs: number; error: unknown }) => void
  /** Whether a failed attempt is final. Default: isFinalRefusal. */
  readonly isFinal?: (error: unknown) => boolean
  readonly backoff?: BackoffOptions
  readonly stableAfterMs?: number
  /** Whether a session that was shorter was of use all the same, so that the next attempt need not wait longer. */
  readonly wasUseful?: (session: Session) => boolean
}

/** Resolves when `signal` aborts; rejects with the error of a final refusal. */
export async function keepDialled<Session>(options: DialOptions<Session>): Promise<void> {
  const { signal, isFinal = isFinalRefusal, stableAfterMs = STABLE_AFTER_MS } = options
  const backoff = new Backoff(options.backoff)
  let failures = 0
  while (!signal.aborted) {
    const attempt = await runOnce(options)
    if (signal.aborted) return
    if (isFinal(attempt.error)) throw attempt.error
    if (attempt.lastedMs >= stableAfterMs || attempt.wasUseful) {
      backoff.reset()
      failures = 0
    }
    failures += 1
    const delayMs = backoff.next(retryAfterOf(attempt.error))
    options.onRetry?.({ failures, delayMs, error: attempt.error })
    // The abort ends the wait; the loop's condition sees it.
    await sleep(delayMs, undefined, { signal }).catch(() => {})
  }
}

/** True for answers to the upgrade that another attempt can't change. */
export function isFinalRefusal(error: unknown): boolean {
  return error instanceof UpgradeRefused && FINAL_STATUSES.includes(error.status)
}

interface Attempt {
  /** 0 when there was no session. */
  readonly lastedMs: number
  readonly wasUseful: boolean
  readonly error?: unknown
}

/** Connects and lets the session run. */
async function runOnce<Session>({ connect, onSession, signal, wasUseful }: DialOptions<Session>): Promise<Attempt> {
  let session: Session
  try {
    session = await connect(signal)
  } catch (error) {
    return { lastedMs: 0, wasUseful: false, error }
  }
  const startedAt = performance.now()
  const ended = (more: { error?: unknown } = {}) => ({
    lastedMs: performance.now() - startedAt,
    wasUseful: wasUseful?.(session) ?? false,
    ...more,
  })
  return onSession(session, signal).then(
    () => ended(),
    (error: unknown) => ended({ error }),
  )
}

function retryAfterOf(error: unknown): number {
  const retryAfterMs = error instanceof UpgradeRefused ? error.retryAfterMs : undefined
  return Math.min(retryAfterMs ?? 0, MAX_RETRY_AFTER_MS)
}
