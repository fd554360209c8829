/**
 * How a task leaves: `leave` takes it from any living state to `finishing`, with what is to be said of it; `finish.ts`
 * then saves what there is and confirms that the placement is gone.
 *
 * Precedence: a stop that was asked for > the agent's own result > the launcher's reason > lost.
 */
import type { EventBody, RunResult } from '../../protocol/event.ts'
import type { TaskId } from '../../protocol/ids.ts'
import type { Outcome, Reason } from '../../protocol/outcome.ts'
import type { Task, TaskState } from '../../protocol/task.ts'
import type { TaskChange } from '../store/store.ts'
import { isoNow, type TaskContext } from './context.ts'

export function leave(
  task: Task,
  outcome: Outcome,
  reason: Reason,
  message: string,
  events: EventBody[] = [],
): TaskChange & { state: TaskState } {
  const placement = 'placement' in task ? task.placement : undefined
  return {
    state: { state: 'finishing', outcome, reason, message, since: isoNow(), ...(placement && { placement }) },
    events: [...events, { type: 'state', state: 'finishing', outcome, reason, message }],
  }
}

/** As the turn's result says. */
export function leaveWithResult(task: Task, result: RunResult): TaskChange & { state: TaskState } {
  const { outcome, reason, message } = result
  return leave(task, outcome, reason, message)
}

/** A stop that was asked for wins over what the agent says it came to. */
export function underStop(task: Task, result: RunResult): RunResult {
  if (task.stopRequested === undefined || result.outcome === 'cancelled') return result
  return { ...result, outcome: 'cancelled', reason: 'user', message: task.stopRequested.reason }
}

/** A task that never had a placement ends at once. */
export function endQueued(
  context: TaskContext,
  taskId: TaskId,
  outcome: Outcome,
  reason: Reason,
  message: string,
): void {
  context.store.changeTask(taskId, (task) => {
    if (task.state !== 'queued') return undefined
    return {
      state: { state: 'ended', outcome, reason, message, endedAt: isoNow(), incomplete: false },
      turns: closeTurn(task, undefined),
      events: [{ type: 'state', state: 'ended', outcome, reason, message }],
    }
  })
  context.store.dropSecrets(taskId)
}

/** The last turn, ended now, with a result when it has none yet. */
export function closeTurn(task: Task, result: RunResult | undefined): Task['turns'] {
  const turns = [...task.turns]
  const last = turns.at(-1)
  if (last === undefined || last.endedAt !== undefined) return turns
  const known = last.result ?? result
  turns[turns.length - 1] = { ...last, endedAt: isoNow(), ...(known && { result: known }) }
  return turns
}
