/**
 * A session of an adapter around one child process.
 *
 * Events are pulled: the reader of `events` reads the program's output, so a reader that rests makes the pipe fill and
 * the program wait. When the program has exited, whatever it left behind is killed, the pipes run dry, the events end,
 * and only then the result is told.
 */
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { type EventBody, NO_USAGE } from '../../protocol/event.ts'
import type { ProcessExit } from '../../protocol/process.ts'
import type { Child } from '../processes/child.ts'
import type { AdapterResult, Session } from './adapter.ts'

/** How long each of interrupt and TERM is given when a session is stopped. */
const STOP_GRACE_MS = 5_000
/** How long a stop waits for a reader to take what the program had still said. */
const DRAIN_MS = 2_000
/** A pipe that stays open and silent this long after the program's end is held by someone we cannot see. */
const QUIET_MS = 1_000

export interface SessionOptions {
  child: Child
  /** Reads the child's output to its end. */
  read(): AsyncGenerator<EventBody>
  /** The conversation's id, as soon as the program has told it. */
  sessionId?: () => string | undefined
  /** Called once, when the child is gone and all was read. */
  conclude(end: { exit: ProcessExit; stopped: boolean }): AdapterResult
}

export function startSession({ child, read, sessionId, conclude }: SessionOptions): Session {
  const drained = deferred<void>()
  const gaveUp = new AbortController()
  let stopped = false
  let fault: unknown
  let isRead = false

  async function* events(): AsyncGenerator<EventBody> {
    try {
      yield* read()
      isRead = true
    } catch (error) {
      fault = error
    } finally {
      drained.resolve()
      if (!isRead) void child.stop()
    }
  }

  async function end(): Promise<AdapterResult> {
    const exit = await child.exited
    await child.sweep()
    void closeWhenQuiet(child.stdout, gaveUp.signal)
    void closeWhenQuiet(child.stderr, gaveUp.signal)
    await drained.promise
    gaveUp.abort()
    if (fault !== undefined) return failed('internal', `reading the program's output failed: ${String(fault)}`)
    return conclude({ exit, stopped })
  }

  async function stop(): Promise<void> {
    stopped = true
    await child.stop({ graceMs: STOP_GRACE_MS })
    await Promise.race([drained.promise, delay(DRAIN_MS)])
    drained.resolve() // nobody reads any more: the result stands on what was read
    await result
  }

  const result = end()
  return {
    events: events(),
    result,
    stop,
    get sessionId() {
      return sessionId?.()
    },
  }
}

/** A session that never began, as a value: the reason is expected often enough. */
export function failedSession(reason: AdapterResult['reason'], message: string): Session {
  async function* nothing(): AsyncGenerator<EventBody> {}
  return { events: nothing(), result: Promise.resolve(failed(reason, message)), stop: async () => {} }
}

export function failed(reason: AdapterResult['reason'], message: string): AdapterResult {
  return { outcome: 'failed', reason, message, usage: NO_USAGE }
}

async function closeWhenQuiet(stream: Readable, signal: AbortSignal): Promise<void> {
  let quietChecks = 0
  while (!stream.readableEnded && !stream.destroyed && !signal.aborted) {
    await delay(QUIET_MS, undefined, { signal, ref: false }).catch(() => {})
    quietChecks = stream.readableLength === 0 ? quietChecks + 1 : 0
    if (quietChecks >= 2) stream.destroy()
  }
}

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
