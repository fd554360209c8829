/**
 * Is there room for one more? Tasks that run and dollars of the day, of the gateway, of a user and of a token: counted
 * from the store when it is asked for, and carried on while one round hands out what there is.
 *
 * A day's budget is kept by setting aside: each turn is given what it may cost when it is launched, and what running
 * turns may still cost is not given to others. So a day's budget is overshot only as far as the coding agents overshoot
 * theirs (docs/limits.md).
 */
import type { GatewayConfig } from '../../protocol/config.ts'
import { MAX_BUDGET_USD, nextUtcDayMs, type TokenLimits, utcDay, type WaitLimit } from '../../protocol/limits.ts'
import type { Spent, Store, Taken, Waiting } from '../store/store.ts'
import { budgetOfTurn } from './turn-limits.ts'
import { limitsOfUser } from './user-limits.ts'

/** What is left of a day's budget below this is nothing: a single model turn costs more. */
export const LEAST_USD = 0.01

/** Whose task it is, and what it may cost. */
export type Claim = Pick<Waiting, 'owner' | 'tokenId' | 'agent' | 'budgetUsd'>

/** `usd` undefined: no limit. */
export type Grant = { limit: WaitLimit } | { usd: number | undefined }

/** One day's budget that counts for a task. */
export interface DayBudget {
  limit: WaitLimit
  /** Whose it is, for people. */
  of: string
  budgetUsd: number
  spentUsd: number
  /** What running turns may still cost. */
  reservedUsd: number
}

export interface Room {
  /**
   * What keeps this task from being launched now, or what its turn may cost. Asked in the order of the queue: behind a
   * task that waits for money, others do not take it from under its eyes.
   */
  grant(claim: Claim): Grant
  /** The same for a turn that needs no place of its own, since its task runs. */
  grantMoney(claim: Claim): Grant
  /** It is launched. */
  take(claim: Claim, usd: number | undefined): void
  budgetsOf(claim: Claim): DayBudget[]
  running(owner: string): number
  readonly isFull: boolean
}

export function countRoom(
  store: Pick<Store, 'takenTasks' | 'spentOn' | 'tokenLimits'>,
  limits: GatewayConfig['limits'],
  nowMs = Date.now(),
): Room {
  const taken: Taken[] = store.takenTasks()
  const tokens = store.tokenLimits()
  const hasBudgets =
    limits.dailyBudgetPerUser !== undefined ||
    Object.values(limits.users).some(({ dailyBudget }) => dailyBudget !== undefined) ||
    [...tokens.values()].some(({ dailyBudgetUsd }) => dailyBudgetUsd !== undefined)
  const spent: Spent[] = hasBudgets ? store.spentOn(utcDay(nowMs)) : []
  const tokenOf = ({ tokenId }: Claim): TokenLimits => (tokenId === undefined ? undefined : tokens.get(tokenId)) ?? {}
  const ofOwner = (claim: Claim) => (one: Taken | Spent) => one.owner === claim.owner
  const ofToken = (claim: Claim) => (one: Taken | Spent) => one.tokenId === claim.tokenId

  function placeLimit(claim: Claim): WaitLimit | undefined {
    const ofItsOwner = limitsOfUser(limits, claim.owner).maxTasks
    const ofItsToken = tokenOf(claim).maxTasks
    if (ofItsToken !== undefined && taken.filter(ofToken(claim)).length >= ofItsToken) return 'token.maxTasks'
    if (ofItsOwner.value !== undefined && taken.filter(ofOwner(claim)).length >= ofItsOwner.value)
      return ofItsOwner.limit
    return taken.length >= limits.maxTasks ? 'limits.maxTasks' : undefined
  }

  function budgetsOf(claim: Claim): DayBudget[] {
    if (!hasBudgets || claim.agent === 'command') return []
    const day = (
      limit: WaitLimit,
      of: string,
      budgetUsd: number | undefined,
      isIts: (one: Taken | Spent) => boolean,
    ) =>
      budgetUsd === undefined
        ? []
        : [
            {
              limit,
              of,
              budgetUsd,
              spentUsd: spent.filter(isIts).reduce((sum, { usd }) => sum + usd, 0),
              reservedUsd: taken.filter(isIts).reduce((sum, { reservedUsd }) => sum + reservedUsd, 0),
            },
          ]
    const ofItsOwner = limitsOfUser(limits, claim.owner).dailyBudget
    return [
      ...day(ofItsOwner.limit, claim.owner, ofItsOwner.value, ofOwner(claim)),
      ...day('token.dailyBudget', 'this token', tokenOf(claim).dailyBudgetUsd, ofToken(claim)),
    ]
  }

  /** What is left goes to one that wanted more only when nobody can give anything back. */
  function grantMoney(claim: Claim): Grant {
    if (claim.agent === 'command') return { usd: undefined }
    let usd = budgetOfTurn({ budgetUsd: claim.budgetUsd }, limits, tokenOf(claim))
    for (const { limit, budgetUsd, spentUsd, reservedUsd } of budgetsOf(claim)) {
      const leftUsd = budgetUsd - spentUsd - reservedUsd
      if (leftUsd < LEAST_USD || (reservedUsd > 0 && leftUsd < (usd ?? MAX_BUDGET_USD))) return { limit }
      usd = Math.min(usd ?? MAX_BUDGET_USD, leftUsd)
    }
    return { usd }
  }

  /** Budgets that somebody waits for. */
  const awaited = new Set<string>()
  const accountOf = (claim: Claim, limit: WaitLimit) =>
    `${limit} ${limit === 'token.dailyBudget' ? claim.tokenId : claim.owner}`

  return {
    grant(claim) {
      const place = placeLimit(claim)
      if (place !== undefined) return { limit: place }
      const behind = budgetsOf(claim).find(({ limit }) => awaited.has(accountOf(claim, limit)))
      if (behind !== undefined) return { limit: behind.limit }
      const money = grantMoney(claim)
      if ('limit' in money) awaited.add(accountOf(claim, money.limit))
      return money
    },
    grantMoney,
    take: ({ owner, tokenId }, usd) => void taken.push({ owner, tokenId, reservedUsd: usd ?? 0 }),
    budgetsOf,
    running: (owner) => taken.filter((one) => one.owner === owner).length,
    get isFull() {
      return taken.length >= limits.maxTasks
    },
  }
}

/** Until budgets of the day start anew. */
export const secondsToMidnight = (nowMs: number): number => Math.ceil((nextUtcDayMs(nowMs) - nowMs) / 1000)
