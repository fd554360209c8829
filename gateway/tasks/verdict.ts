/**
 * Whether a task must leave its state, and as what. A pure function of what the store says, what the launcher says and
 * which deadlines have passed: the whole table of how tasks end without, or against, their agents.
 */
import type { GatewayConfig } from '../../protocol/config.ts'
import type { Outcome, Reason } from '../../protocol/outcome.ts'
import type { Task } from '../../protocol/task.ts'
import type { PlacementStatus } from '../launchers/launcher.ts'
import type { Deadline } from './machine.ts'

export interface Verdict {
  outcome: Outcome
  reason: Reason
  message: string
}

export interface Seen {
  /** What the launcher says; undefined when it was not asked. */
  status: PlacementStatus | undefined
  /** Why the agent could not be told its work. */
  trouble: string | undefined
  deadlines: GatewayConfig['deadlines']
  /** Of the task's launcher. */
  launchDeadlines: { launch: Deadline; dial: Deadline }
  taskTimeout: number
  /** The agent has dialled lately, and the launcher did not say whether it is the one that it launched. */
  isHeldUp: boolean
  /** Has a deadline of so many seconds, which began at `since`, passed? */
  isPast(since: string, seconds: number): boolean
}

/** The agent enforces the time limit; the gateway steps in so much later, for an agent that does not. */
const TIMEOUT_GRACE_SECONDS = 120

export function verdictOnQueued(task: Task & { state: 'queued' }, seen: Seen): Verdict | undefined {
  const limit = seen.deadlines.workspace
  if (task.stopRequested) return cancelled(task.stopRequested.reason)
  if (task.waitingFor === 'workspace' && seen.isPast(task.since, limit))
    return { outcome: 'failed', reason: 'workspace', message: `the workspace did not arrive within ${limit} s` }
  return undefined
}

export function verdictOnStarting(task: Task & { state: 'starting' }, seen: Seen): Verdict | undefined {
  const { status, launchDeadlines, isPast, isHeldUp } = seen
  const { launch, dial } = launchDeadlines
  if (task.stopRequested) return cancelled(task.stopRequested.reason)
  if (isGone(status))
    return { outcome: 'failed', reason: 'launch', message: words('the agent ended before it dialled in', status) }
  if (status?.status === 'pending') {
    if (!isPast(task.since, launch.seconds)) return undefined
    const message = words(`no machine ran it within ${launch.seconds} s (${launch.key})`, status)
    return { outcome: 'failed', reason: 'capacity', message }
  }
  const hasRunSince = status?.status === 'running' ? (status.since ?? task.since) : undefined
  // A launcher that was not asked, or does not answer, is given the time of both.
  const isLate =
    hasRunSince === undefined ? isPast(task.since, launch.seconds + dial.seconds) : isPast(hasRunSince, dial.seconds)
  if (!isLate || isHeldUp) return undefined
  const message = `the agent did not dial in within ${dial.seconds} s (${dial.key})`
  return { outcome: 'failed', reason: 'start_timeout', message }
}

export function verdictOnRunning(task: Task & { state: 'running' }, seen: Seen): Verdict | undefined {
  const result = task.turns.at(-1)?.result
  if (task.keptUntil !== undefined && result !== undefined)
    return task.stopRequested || seen.isPast(task.keptUntil, 0) || isGone(seen.status) ? result : undefined
  return onGone(task, seen) ?? onDeadline(task, seen)
}

function onGone(task: Task & { state: 'running' }, { status }: Seen): Verdict | undefined {
  if (!isGone(status)) return undefined
  if (task.stopRequested) return cancelled(task.stopRequested.reason)
  if (status !== undefined && 'reason' in status && status.reason === 'infrastructure')
    return { outcome: 'interrupted', reason: 'infrastructure', message: words('the machine was taken away', status) }
  return { outcome: 'lost', reason: 'placement_gone', message: words('the agent ended without a word', status) }
}

function onDeadline(task: Task & { state: 'running' }, seen: Seen): Verdict | undefined {
  const { deadlines, isPast, trouble } = seen
  const { stopRequested, connection } = task
  if (stopRequested && isPast(stopRequested.at, deadlines.stop))
    return cancelled(`${stopRequested.reason} (the agent did not stop in time)`)
  if (!connection.online && isPast(connection.since, deadlines.offline))
    return { outcome: 'lost', reason: 'offline', message: `no agent for ${deadlines.offline} s` }
  const turn = task.turns.at(-1)
  const begun = turn?.startedAt ?? later(task.since, turn?.createdAt ?? task.since)
  const limit = Math.min(task.spec.limits.timeoutSeconds ?? Number.POSITIVE_INFINITY, seen.taskTimeout)
  if (isPast(begun, limit + TIMEOUT_GRACE_SECONDS)) {
    const message = `the time limit of ${limit} s passed and the agent did not act on it`
    return { outcome: 'timeout', reason: 'max_duration', message }
  }
  if (trouble !== undefined && turn?.startedAt === undefined && connection.online && isPast(begun, deadlines.start))
    return { outcome: 'failed', reason: 'internal', message: `the agent could not be given its work: ${trouble}` }
  return undefined
}

export const isGone = (status: PlacementStatus | undefined): boolean =>
  status !== undefined && status.status !== 'running' && status.status !== 'pending'

const cancelled = (message: string): Verdict => ({ outcome: 'cancelled', reason: 'user', message })

const later = (a: string, b: string): string => (Date.parse(a) > Date.parse(b) ? a : b)

function words(what: string, status: PlacementStatus | undefined): string {
  const detail = status !== undefined && 'detail' in status ? status.detail : undefined
  const code = status !== undefined && 'exitCode' in status ? status.exitCode : undefined
  const head = code === undefined ? what : `${what} (exit code ${code})`
  if (detail === undefined) return head
  return status?.status === 'pending' ? `${head}: ${detail}` : `${head}; its last words: ${detail}`
}
