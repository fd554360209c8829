/** What users and tokens have of their limits at this moment: tasks that run, tasks that wait, dollars of the day. */
import type { TokenId } from '../../protocol/ids.ts'
import { nextUtcDayMs, utcDay } from '../../protocol/limits.ts'
import type { Allowance, Allowances } from '../../protocol/routes.ts'
import type { TaskContext } from './context.ts'
import { limitsOfUser } from './user-limits.ts'

export interface AllowanceQuery {
  /** Undefined for everybody. */
  user: string | undefined
  /** Undefined for every token of theirs. */
  tokenId: TokenId | undefined
}

export function allowances(
  { store, config }: Pick<TaskContext, 'store' | 'config'>,
  query: AllowanceQuery,
  nowMs = Date.now(),
): Allowances {
  const { limits } = config
  const taken = store.takenTasks()
  const spent = store.spentOn(utcDay(nowMs))
  const waiting = store.waitingTasks()

  const tasks = (count: number, limit: string, max: number | undefined): Allowance => ({
    limit,
    used: count,
    ...(max !== undefined && { max }),
  })
  const money = (isIts: (one: Account) => boolean, limit: string, max: number | undefined): Allowance => ({
    limit,
    used: sum(spent.filter(isIts).map(({ usd }) => usd)),
    reserved: sum(taken.filter(isIts).map(({ reservedUsd }) => reservedUsd)),
    ...(max !== undefined && { max }),
  })

  const ofUser = (user: string) => {
    const isIts = ({ owner }: Account) => owner === user
    const { maxTasks, maxQueued, dailyBudget } = limitsOfUser(limits, user)
    return {
      user,
      running: tasks(taken.filter(isIts).length, maxTasks.limit, maxTasks.value),
      queued: tasks(store.countQueued(user), maxQueued.limit, maxQueued.value),
      usdToday: money(isIts, dailyBudget.limit, dailyBudget.value),
    }
  }
  const tokens = store
    .listTokens()
    .filter(({ id, user, revokedAt }) =>
      query.tokenId === undefined
        ? revokedAt === undefined && (query.user === undefined || user === query.user)
        : id === query.tokenId,
    )
  const everybody = [...tokens, ...taken.map(userOf), ...spent.map(userOf), ...waiting.map(userOf)]
  const users = query.user === undefined ? [...new Set(everybody.map(({ user }) => user))].sort() : [query.user]

  return {
    resetsAt: new Date(nextUtcDayMs(nowMs)).toISOString(),
    running: tasks(taken.length, 'limits.maxTasks', limits.maxTasks),
    users: users.map(ofUser),
    tokens: tokens.map(({ id, name, user, limits: own = {} }) => {
      const isIts = ({ tokenId }: Account) => tokenId === id
      return {
        tokenId: id,
        name,
        user,
        running: tasks(taken.filter(isIts).length, 'token.maxTasks', own.maxTasks),
        queued: { used: waiting.filter(isIts).length },
        usdToday: money(isIts, 'token.dailyBudget', own.dailyBudgetUsd),
      }
    }),
  }
}

interface Account {
  owner: string
  tokenId: TokenId | undefined
}

const userOf = ({ owner }: Account): { user: string } => ({ user: owner })

const sum = (amounts: number[]): number => amounts.reduce((total, one) => total + one, 0)
