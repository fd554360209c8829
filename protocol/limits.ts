/**
 * Limits that a task can wait for, and those that a token can have besides the gateway's own. A limit is always called by
 * the key that changes it: `limits.*` in the gateway's configuration, `token.*` as `rclaude token create` set it.
 */
import { z } from 'zod'

/** What keeps a queued task from being launched. */
export const WaitLimit = z.enum([
  'limits.maxTasks',
  'limits.maxTasksPerUser',
  'limits.users.maxTasks',
  'token.maxTasks',
  'limits.dailyBudgetPerUser',
  'limits.users.dailyBudget',
  'token.dailyBudget',
])
export type WaitLimit = z.infer<typeof WaitLimit>

/** A day's budget at most; no budget at all is more. */
export const MAX_DAY_USD = 10_000_000
/** What a turn may cost at most. */
export const MAX_BUDGET_USD = 10_000

/** Of one token. The lower of this and the gateway's own counts. */
export const TokenLimits = z.object({
  /** Tasks that run at once. */
  maxTasks: z.number().int().positive().optional(),
  /** What all tasks made with it may cost in a UTC day. */
  dailyBudgetUsd: z.number().positive().max(MAX_DAY_USD).optional(),
  /** What one turn of a task may cost. */
  taskBudgetUsd: z.number().positive().max(MAX_BUDGET_USD).optional(),
  /** Wall clock for one turn. */
  taskTimeoutSeconds: z.number().int().positive().optional(),
})
export type TokenLimits = z.infer<typeof TokenLimits>

/** The day that an amount counts for. */
export const utcDay = (nowMs: number): string => new Date(nowMs).toISOString().slice(0, 10)

/** When the next UTC day begins, in ms since the epoch. */
export const nextUtcDayMs = (nowMs: number): number => Date.parse(`${utcDay(nowMs)}T00:00:00Z`) + 86_400_000
