/**
 * A task's events to the end of the task, across lost connections: it asks again from the last number it saw, so no
 * event is missed or repeated. Waits between tries have full jitter; without any answer for long it gives up.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { Client } from '../protocol/client.ts'
import { type ErrorCode, RclaudeError } from '../protocol/errors.ts'
import type { TaskEvent } from '../protocol/event.ts'
import { routes } from '../protocol/routes.ts'
import { formatSeconds } from '../protocol/units.ts'

/** Without an answer for this long the gateway is given up. */
export const GIVE_UP_MS = 10 * 60_000
const FIRST_WAIT_MS = 100
const MAX_WAIT_MS = 5_000

export interface FollowOptions {
  /** Events up to this number are known. */
  since?: number
  signal?: AbortSignal
  giveUpMs?: number
  /** 0 to 1, and milliseconds; for tests. */
  random?: () => number
  now?: () => number
}

export async function* followEvents(
  client: Pick<Client, 'events' | 'call'>,
  taskId: string,
  options: FollowOptions = {},
): AsyncGenerator<TaskEvent> {
  const { signal, giveUpMs = GIVE_UP_MS, random = Math.random, now = Date.now } = options
  let seen = options.since ?? 0
  let failingSinceMs: number | undefined
  let tries = 0
  for (;;) {
    const askedAtMs = now()
    try {
      for await (const event of client.events(taskId, { since: seen, follow: true, ...(signal && { signal }) })) {
        if (event.seq <= seen) continue
        seen = event.seq
        failingSinceMs = undefined
        tries = 0
        yield event
      }
      const task = await client.call(routes.getTask, { params: { taskId }, ...(signal && { signal }) })
      if (task.state === 'ended' && task.lastSeq <= seen) return
      failingSinceMs = undefined
    } catch (error) {
      signal?.throwIfAborted()
      if (!isPassing(error)) throw error
      if (hadLived(error, now() - askedAtMs)) {
        failingSinceMs = undefined
        tries = 0
      }
      failingSinceMs ??= now()
      if (now() - failingSinceMs >= giveUpMs)
        throw new RclaudeError(
          'unavailable',
          `the gateway did not answer for ${formatSeconds(giveUpMs / 1000)}; the task goes on without this view: rclaude attach ${taskId}`,
          { cause: error },
        )
    }
    await pause(random() * Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(tries++, 10)), undefined, { signal })
  }
}

/** A stream that lasted was an answer, although nothing happened in the task meanwhile. */
const hadLived = (error: unknown, lastedMs: number): boolean =>
  !(error instanceof RclaudeError) && lastedMs > MAX_WAIT_MS

const PASSING: ReadonlySet<ErrorCode> = new Set(['unavailable', 'limit', 'internal'])

/** Worth another try: the gateway was not there, was busy, or the connection broke in mid-line. */
function isPassing(error: unknown): boolean {
  if (error instanceof RclaudeError) return PASSING.has(error.code)
  return error instanceof TypeError || error instanceof SyntaxError || (error instanceof Error && 'code' in error)
}
