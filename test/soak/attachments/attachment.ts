/** What the attachments of a storm have in common: where they attach, when they end, and what they report. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Client } from '../../../protocol/client.ts'
import { RclaudeError } from '../../../protocol/errors.ts'
import type { World } from '../../helpers/world.ts'
import { Fault } from './expected.ts'
import type { Echo } from './recovery.ts'

/** What every attachment is given. */
export interface Stage {
  world: World
  client: Client
  taskId: string
  random: () => number
  /** Round trips of the exec attachments, in the order in which they came back. */
  echoes: Echo[]
  /** Fires when the storm is over: no more input, finish what was begun. */
  ending: AbortSignal
}

export interface Tally {
  /** Bytes or events that were compared and right. */
  checked: number
  /** Connections lost and taken up again. */
  retries: number
}

export interface Attachment {
  name: string
  /** It is live: something came. */
  ready: Promise<void>
  /** Rejects with a Fault, or with what it could not go on from. */
  done: Promise<Tally>
  /** It ends with the task, not with `ending`. */
  followsTask?: boolean
}

/** Runs `work`, which calls `isReady` at its first sign of life. */
export function attachment(name: string, work: (isReady: () => void) => Promise<Tally>): Attachment {
  let isReady = () => {}
  const ready = new Promise<void>((resolve) => {
    isReady = resolve
  })
  const done = work(isReady)
  done.catch(() => {}) // looked at when all have ended
  return { name, ready: Promise.race([ready, done.then(() => {})]), done }
}

const PASSING = new Set(['unavailable', 'agent_offline', 'agent_failed', 'agent_timeout', 'limit', 'internal'])
/** A client in a script would wait about as long. */
const MIN_WAIT_MS = 100
const MAX_WAIT_MS = 500
/** Longer than the agent waits between two dials. */
const GIVE_UP_MS = 60_000

/**
 * Repeats a request over lost connections. `onLost` is told of each; it may throw to end it. A request that got on a
 * little before it broke says so to `gotOn`, and has all its time again.
 */
export async function insist<T>(
  stage: Pick<Stage, 'random'>,
  request: (gotOn: () => void) => Promise<T>,
  onLost: (error: unknown) => void | Promise<void> = () => {},
): Promise<T> {
  let startMs = performance.now()
  const gotOn = () => {
    startMs = performance.now()
  }
  for (;;) {
    try {
      return await request(gotOn)
    } catch (error) {
      if (!isPassing(error)) throw error
      if (performance.now() - startMs > GIVE_UP_MS)
        throw new Fault(`no answer within ${GIVE_UP_MS / 1000} s: ${messageOf(error)}`, { cause: error })
      await onLost(error)
      await pause(MIN_WAIT_MS + stage.random() * (MAX_WAIT_MS - MIN_WAIT_MS))
    }
  }
}

/** What another try may cure: the gateway or the agent were not there, or the connection broke. */
function isPassing(error: unknown): boolean {
  if (error instanceof RclaudeError) return PASSING.has(error.code)
  return error instanceof TypeError && !(error instanceof Fault) // how fetch says that a body broke off
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** Resolves when the signal has fired. */
export const fired = (signal: AbortSignal): Promise<void> =>
  signal.aborted
    ? Promise.resolve()
    : new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
