/** What follows for a task from the events its agent sent. A pure function: the store applies it with the events. */
import { type AgentEvent, addUsage, NO_USAGE, type RunResult, type Usage } from '../../protocol/event.ts'
import type { LaunchId } from '../../protocol/ids.ts'
import type { Outcome } from '../../protocol/outcome.ts'
import { stateOf, type Task } from '../../protocol/task.ts'
import type { TaskChange } from '../store/store.ts'
import { chargeForUnknown } from './charge.ts'
import { leaveWithResult, underStop } from './ending.ts'

export function consequences(task: Task, events: AgentEvent[], launchId: LaunchId): TaskChange | undefined {
  // An agent speaks for its own placement only, and only while that is the task's.
  if (!('placement' in task) || task.placement?.launchId !== launchId) return undefined
  const change: TaskChange = {}
  for (const event of events) {
    const { state, events: _, stopRequested: __, ...rest } = change
    const now = { ...task, ...rest, ...state } as Task // as it is after the events so far
    switch (event.type) {
      case 'turn_started':
        change.turns = patchTurn(now, event.turn, { startedAt: event.at })
        break
      case 'checkpoint':
        change.workspace = {
          ...now.workspace,
          checkpoint: event.commit,
          ...(event.sessionId !== undefined && { sessionId: event.sessionId }),
        }
        break
      case 'usage':
        change.usage = addUsage(usageBefore(now, event.turn), event.usage)
        break
      case 'turn_ended':
        Object.assign(change, turnEnded(now, event))
        break
      default:
    }
  }
  return change
}

/** The turn has its result: the task leaves with it, or is kept. */
export function turnEnded(task: Task, event: { turn: number; at: string; result: RunResult }): TaskChange {
  const turn = task.turns.find((one) => one.turn === event.turn)
  if (turn === undefined || turn.result !== undefined) return {}
  const isLast = event.turn === task.turns.length
  const result = underStop(task, event.result)
  const change: TaskChange = {
    turns: patchTurn(task, event.turn, { result, endedAt: event.at }),
    usage: addUsage(usageBefore(task, event.turn), result.usage),
    ...(isLast && { chargeUsd: chargeForUnknown(task, result) }),
    ...(result.sessionId !== undefined && { workspace: { ...task.workspace, sessionId: result.sessionId } }),
  }
  if (task.state === 'finishing' && isLast && GIVEN_UP.has(task.outcome)) {
    // Given up too early: what the agent says it came to counts for more than what was guessed without it.
    const { outcome, reason, message } = result
    return {
      ...change,
      state: { ...(stateOf(task) as Extract<Task, { state: 'finishing' }>), outcome, reason, message },
    }
  }
  if (task.state !== 'running' || !isLast) return change
  if (task.spec.keepSeconds === 0 || task.stopRequested !== undefined || result.outcome === 'interrupted')
    return { ...change, ...leaveWithResult(task, result) }
  const keptUntil = new Date(Date.now() + task.spec.keepSeconds * 1000).toISOString()
  return {
    ...change,
    state: { ...(stateOf(task) as Extract<Task, { state: 'running' }>), keptUntil },
    events: [{ type: 'state', state: 'running', outcome: result.outcome, message: `kept until ${keptUntil}` }],
  }
}

const GIVEN_UP: ReadonlySet<Outcome> = new Set(['lost', 'interrupted'])

function patchTurn(task: Task, turn: number, patch: Partial<Task['turns'][number]>): Task['turns'] {
  return task.turns.map((one) => (one.turn === turn ? { ...one, ...patch } : one))
}

/** What the turns before this one used. A turn reports its own use, growing. */
function usageBefore(task: Task, turn: number): Usage {
  const earlier = task.turns.filter((one) => one.turn < turn).map((one) => one.result?.usage ?? NO_USAGE)
  return earlier.reduce(addUsage, NO_USAGE)
}
