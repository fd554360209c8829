/**
 * What a turn counts as when nobody can say what it cost: Claude Code tells its cost with its result, so one that was
 * killed before, or whose machine went, has told nothing. It counts as what it was given, or whoever stops every task
 * just before its end would never spend a cent of the day's budget.
 */
import type { RunResult, Usage } from '../../protocol/event.ts'
import type { Outcome } from '../../protocol/outcome.ts'
import { costOfLastTurn, type Task } from '../../protocol/task.ts'

/** Ends in the middle of the work. One that came to its end and cost nothing did cost nothing. */
const CUT_SHORT: ReadonlySet<Outcome> = new Set(['cancelled', 'timeout', 'failed', 'interrupted', 'lost'])

/** @param result undefined when the agent never gave one */
export function chargeForUnknown(task: Pick<Task, 'turns' | 'usage'>, result: RunResult | undefined): number {
  const turn = task.turns.at(-1)
  if (turn?.budgetUsd === undefined || turn.startedAt === undefined || turn.result !== undefined) return 0
  if (costOfLastTurn(task.turns, task.usage.costUsd) > 0) return 0 // it was told on the way
  if (result === undefined) return turn.budgetUsd
  const isUnknown = isUnpriced(result) && CUT_SHORT.has(result.outcome)
  return isUnknown ? turn.budgetUsd : 0
}

const isUnpriced = ({ usage, costUnknown }: RunResult): boolean =>
  usage.costUsd === 0 && (costUnknown === true || hasTokens(usage))

const hasTokens = (usage: Usage): boolean =>
  usage.inputTokens + usage.outputTokens + usage.cacheReadTokens + usage.cacheWriteTokens > 0
