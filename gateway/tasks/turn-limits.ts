/** What a turn may take at most: the least of what its task asks for, the gateway allows and the token allows. */
import type { GatewayConfig } from '../../protocol/config.ts'
import type { TaskId } from '../../protocol/ids.ts'
import type { TokenLimits } from '../../protocol/limits.ts'
import type { RunSpec } from '../../protocol/run.ts'
import { type Limits, MAX_IDLE_SECONDS, MAX_TIMEOUT_SECONDS } from '../../protocol/task.ts'
import { formatSeconds } from '../../protocol/units.ts'
import type { Store } from '../store/store.ts'

type GatewayLimits = Pick<GatewayConfig['limits'], 'taskTimeout' | 'taskIdle' | 'taskBudget' | 'maxTaskBudget'>

interface Bound {
  /** What is to be said when it is reached: the option or key that set it. */
  key: string
  value: number
}

/** Of the token with which the newest turn was asked for. */
export function tokenLimitsOf(store: Pick<Store, 'tokenOf' | 'tokenLimits'>, taskId: TaskId): TokenLimits {
  const tokenId = store.tokenOf(taskId)
  return (tokenId === undefined ? undefined : store.tokenLimits().get(tokenId)) ?? {}
}

/** @param budgetUsd what the turn was given when it was launched; undefined for a launch of an earlier version */
export function turnLimits(
  asked: Limits,
  gateway: GatewayLimits,
  token: TokenLimits,
  budgetUsd: number | undefined,
): Pick<RunSpec, 'limits' | 'limitKeys'> {
  const timeout = least(timeouts(asked, gateway, token))
  const idle = least(idles(asked, gateway))
  const own = least(budgets(asked, gateway, token))
  const budget =
    budgetUsd === undefined || budgetUsd === own?.value ? own : { key: 'the budget of the day', value: budgetUsd }
  return {
    limits: {
      ...asked,
      ...(timeout && { timeoutSeconds: whole(timeout.value) }),
      ...(idle && { idleSeconds: whole(idle.value) }),
      ...(budget && { budgetUsd: budget.value }),
    },
    limitKeys: { timeout: timeout?.key, idle: idle?.key, budget: budget?.key },
  }
}

/** In dollars; undefined for no limit. */
export const budgetOfTurn = (
  asked: Pick<Limits, 'budgetUsd'>,
  gateway: GatewayLimits,
  token: TokenLimits,
): number | undefined => least(budgets(asked, gateway, token))?.value

/** What a task asked for and does not get, in words for its log. */
export function cutLimits(asked: Limits, gateway: GatewayLimits, token: TokenLimits): string[] {
  const cut = (option: string, value: number | undefined, bounds: Bound[], text: (value: number) => string) => {
    const bound = least(bounds)
    return value === undefined || bound === undefined || bound.value >= value
      ? []
      : [`${option} ${text(value)} is more than ${bound.key} allows: it is ${text(bound.value)}`]
  }
  const dollars = (usd: number) => `$${usd.toFixed(2)}`
  return [
    ...cut('--timeout', asked.timeoutSeconds, timeouts(asked, gateway, token), formatSeconds),
    ...cut('--idle', asked.idleSeconds, idles(asked, gateway), formatSeconds),
    ...cut('--budget', asked.budgetUsd, budgets(asked, gateway, token), dollars),
  ]
}

const timeouts = (asked: Limits, gateway: GatewayLimits, token: TokenLimits): Bound[] => [
  ...bound('--timeout', asked.timeoutSeconds),
  ...bound('limits.taskTimeout', Math.min(gateway.taskTimeout, MAX_TIMEOUT_SECONDS)),
  ...bound('token.taskTimeout', token.taskTimeoutSeconds),
]

const idles = (asked: Limits, gateway: GatewayLimits): Bound[] => [
  ...bound('--idle', asked.idleSeconds),
  ...bound('limits.taskIdle', Math.min(gateway.taskIdle, MAX_IDLE_SECONDS)),
]

const budgets = (asked: Limits, gateway: GatewayLimits, token: TokenLimits): Bound[] => [
  ...(asked.budgetUsd === undefined
    ? bound('limits.taskBudget', gateway.taskBudget)
    : bound('--budget', asked.budgetUsd)),
  ...bound('limits.maxTaskBudget', gateway.maxTaskBudget),
  ...bound('token.taskBudget', token.taskBudgetUsd),
]

const bound = (key: string, value: number | undefined): Bound[] => (value === undefined ? [] : [{ key, value }])

/** Of equal ones the first. */
const least = (bounds: Bound[]): Bound | undefined =>
  bounds.reduce<Bound | undefined>((low, one) => (low === undefined || one.value < low.value ? one : low), undefined)

/** Seconds as the agent takes them. */
const whole = (seconds: number): number => Math.max(1, Math.ceil(seconds))
