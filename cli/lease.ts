/**
 * `run --on-disconnect`: signs of life for a task that is to be stopped when this program is gone, however it went. They
 * begin when the task is made and end with it, with this program, or when the user leaves the task on purpose.
 */
import { InvalidArgumentError } from 'commander'
import type { Client } from '../protocol/client.ts'
import { type ErrorCode, RclaudeError } from '../protocol/errors.ts'
import { routes } from '../protocol/routes.ts'
import { MIN_GRACE_SECONDS, type OnDisconnect, type Task } from '../protocol/task.ts'
import { formatSeconds, parseSeconds } from '../protocol/units.ts'

/** So many signs within the grace: all but one may be lost. */
const SIGNS_PER_GRACE = 4
const MAX_EVERY_MS = 15_000
/** Answers after which no sign will ever be wanted again. */
const FINAL: ReadonlySet<ErrorCode> = new Set(['gone', 'not_found', 'forbidden', 'unauthenticated'])

export interface Lease {
  /** For people: `30s`. */
  grace: string
  /** The task is to go on without this program. */
  release(): Promise<void>
  end(): void
}

/** Does nothing for a task without `onDisconnect`. */
export function holdLease(client: Pick<Client, 'call'>, task: Pick<Task, 'id' | 'spec'>): Lease | undefined {
  const { onDisconnect } = task.spec
  if (onDisconnect === undefined) return undefined
  const params = { taskId: task.id }
  const everyMs = Math.min(MAX_EVERY_MS, (onDisconnect.stopAfterSeconds * 1000) / SIGNS_PER_GRACE)
  const renew = () => {
    client.call(routes.renewLease, { params, signal: AbortSignal.timeout(everyMs) }).catch((error: unknown) => {
      if (error instanceof RclaudeError && FINAL.has(error.code)) end()
    }) // what is lost on the way is made good by the next one
  }
  const timer = setInterval(renew, everyMs).unref()
  const end = () => clearInterval(timer)
  renew()
  return {
    grace: formatSeconds(onDisconnect.stopAfterSeconds),
    end,
    release: async () => {
      end()
      await client.call(routes.releaseLease, { params })
    },
  }
}

/** `keep`, or `stop:GRACE`. */
export function parseOnDisconnect(text: string): OnDisconnect | undefined {
  if (text === 'keep') return undefined
  const seconds = text.startsWith('stop:') ? parseSeconds(text.slice('stop:'.length)) : undefined
  if (seconds === undefined) throw new InvalidArgumentError('Expected keep, or stop:GRACE like stop:30s.')
  if (seconds < MIN_GRACE_SECONDS)
    throw new InvalidArgumentError(`The grace must be at least ${MIN_GRACE_SECONDS}s, or a busy machine looks gone.`)
  return { stopAfterSeconds: Math.ceil(seconds) }
}
