/** Dollars of the day: what is spent, what is set aside, and what a turn is given. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openStore } from '../../../gateway/store/sqlite.ts'
import type { Spent, Taken } from '../../../gateway/store/store.ts'
import { chargeForUnknown } from '../../../gateway/tasks/charge.ts'
import { countRoom } from '../../../gateway/tasks/room.ts'
import { cutLimits, turnLimits } from '../../../gateway/tasks/turn-limits.ts'
import { GatewayConfig, type GatewayConfigInput } from '../../../protocol/config.ts'
import { type AgentEvent, NO_USAGE, type RunResult } from '../../../protocol/event.ts'
import { newLaunchId, newTaskId, newTokenId } from '../../../protocol/ids.ts'
import { type TokenLimits, utcDay } from '../../../protocol/limits.ts'
import { Limits, type Task, TaskSpec } from '../../../protocol/task.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

const tokenId = newTokenId()
const limitsOf = (limits: GatewayConfigInput['limits'] = {}) => GatewayConfig.parse({ limits }).limits

function roomWith(
  limits: GatewayConfigInput['limits'],
  facts: { taken?: Taken[]; spent?: Spent[]; token?: TokenLimits } = {},
) {
  const store = {
    takenTasks: () => [...(facts.taken ?? [])],
    spentOn: () => facts.spent ?? [],
    tokenLimits: () => new Map(facts.token === undefined ? [] : [[tokenId, facts.token]]),
  }
  return countRoom(store, limitsOf(limits))
}

const claude = (budgetUsd?: number) => ({ owner: 'alice', tokenId, agent: 'claude' as const, budgetUsd })
const spent = (usd: number, owner = 'alice'): Spent => ({ owner, tokenId, usd })
const running = (reservedUsd: number, owner = 'alice'): Taken => ({ owner, tokenId, reservedUsd })

test('without limits on money a turn has none', () => {
  expect(roomWith({}).grant(claude())).toEqual({ usd: undefined })
})

test('a user who is named in limits.users has limits of his own, others those of everybody', () => {
  const users = { alice: { maxTasks: 2, dailyBudget: 20 }, bob: {} }
  const limits = { maxTasksPerUser: 1, dailyBudgetPerUser: 10, users }
  const room = roomWith(limits, { spent: [spent(15), spent(5, 'bob')], taken: [running(1)] })
  expect(room.grant(claude(2))).toEqual({ usd: 2 })
  room.take(claude(2), 2)
  expect(room.grant(claude(1))).toEqual({ limit: 'limits.users.maxTasks' })
  expect(room.grantMoney(claude(4))).toEqual({ limit: 'limits.users.dailyBudget' })
  expect(room.grant({ ...claude(), owner: 'bob' })).toEqual({ usd: 5 })
  room.take({ ...claude(), owner: 'bob' }, 5)
  expect(room.grant({ ...claude(), owner: 'bob' })).toEqual({ limit: 'limits.maxTasksPerUser' })
  expect(roomWith({ users: { alice: { dailyBudget: 1 } } }).grant(claude())).toEqual({ usd: 1 })
  expect(() => limitsOf({ users: { alice: { usdPerDay: 1 } as never } })).toThrow('usdPerDay')
  expect(() => limitsOf({ users: { 'Not A Name': {} } })).toThrow()
})

test('a turn gets the least of what it asked for and what is allowed', () => {
  expect(roomWith({ taskBudget: 3 }).grant(claude())).toEqual({ usd: 3 })
  expect(roomWith({ taskBudget: 3 }).grant(claude(7))).toEqual({ usd: 7 })
  expect(roomWith({ taskBudget: 3, maxTaskBudget: 5 }).grant(claude(7))).toEqual({ usd: 5 })
  expect(roomWith({ maxTaskBudget: 5 }, { token: { taskBudgetUsd: 2 } }).grant(claude(7))).toEqual({ usd: 2 })
})

test('what running turns may still cost is not given to others', () => {
  const room = roomWith({ dailyBudgetPerUser: 10 }, { spent: [spent(3)], taken: [running(5)] })
  expect(room.grant(claude(2))).toEqual({ usd: 2 })
  room.take(claude(2), 2)
  expect(room.grant(claude(1))).toEqual({ limit: 'limits.dailyBudgetPerUser' })
})

test('a task that wants little does not go past one of the same user that waits for more', () => {
  const room = roomWith({ dailyBudgetPerUser: 10 }, { spent: [spent(3)], taken: [running(5)] })
  expect(room.grant(claude(2.5))).toEqual({ limit: 'limits.dailyBudgetPerUser' })
  expect(room.grant(claude(1))).toEqual({ limit: 'limits.dailyBudgetPerUser' })
  expect(room.grant({ ...claude(1), agent: 'command' })).toEqual({ usd: undefined })
  expect(room.grant({ ...claude(1), owner: 'bob' })).toEqual({ usd: 1 })
})

test('when nothing is set aside, the rest goes to whoever wanted more', () => {
  expect(roomWith({ dailyBudgetPerUser: 10 }, { spent: [spent(9)] }).grant(claude(5))).toEqual({ usd: 1 })
  expect(roomWith({ dailyBudgetPerUser: 10 }, { spent: [spent(9)] }).grant(claude())).toEqual({ usd: 1 })
  expect(roomWith({ dailyBudgetPerUser: 10 }, { spent: [spent(9.995)] }).grant(claude())).toEqual({
    limit: 'limits.dailyBudgetPerUser',
  })
})

test('whatever the configuration allows, an agent is told only what its schema takes', () => {
  const odd = limitsOf({ taskTimeout: '30d', taskIdle: '7d' })
  const { limits } = turnLimits({}, odd, {}, undefined)
  expect(Limits.parse(limits)).toEqual(limits)
  const rich = roomWith({ dailyBudgetPerUser: 1_000_000 }).grant(claude())
  expect(rich).toEqual({ usd: 10_000 })
  expect(GatewayConfig.safeParse({ limits: { taskBudget: 10_001 } }).success).toBe(false)
})

test('one user’s money is not another’s, and a token’s budget is its own', () => {
  const others = { spent: [spent(10, 'bob')], taken: [running(10, 'bob')] }
  expect(roomWith({ dailyBudgetPerUser: 10 }, others).grant(claude(4))).toEqual({ usd: 4 })
  expect(roomWith({}, { spent: [spent(5)], token: { dailyBudgetUsd: 5 } }).grant(claude(4))).toEqual({
    limit: 'token.dailyBudget',
  })
})

test('a plain command costs no model money', () => {
  const room = roomWith({ dailyBudgetPerUser: 1, taskBudget: 1 }, { spent: [spent(1)] })
  expect(room.grant({ ...claude(), agent: 'command' })).toEqual({ usd: undefined })
})

test('each limit of a turn carries the name of what set it', () => {
  expect(turnLimits({ timeoutSeconds: 60, budgetUsd: 2 }, limitsOf(), {}, 2)).toEqual({
    limits: { timeoutSeconds: 60, idleSeconds: 1_800, budgetUsd: 2 },
    limitKeys: { timeout: '--timeout', idle: 'limits.taskIdle', budget: '--budget' },
  })
  expect(turnLimits({ timeoutSeconds: 90_000 }, limitsOf({ maxTaskBudget: 9 }), {}, 4).limitKeys).toEqual({
    timeout: 'limits.taskTimeout',
    idle: 'limits.taskIdle',
    budget: 'the budget of the day',
  })
  expect(turnLimits({}, limitsOf(), { taskTimeoutSeconds: 30 }, undefined)).toMatchObject({
    limits: { timeoutSeconds: 30 },
    limitKeys: { timeout: 'token.taskTimeout' },
  })
})

test('what was asked for and is not given is said, with the key', () => {
  const limits = limitsOf({ taskTimeout: '1h', maxTaskBudget: 10 })
  expect(cutLimits({ timeoutSeconds: 7_200, budgetUsd: 50, idleSeconds: 60 }, limits, {})).toEqual([
    '--timeout 2h 00m is more than limits.taskTimeout allows: it is 1h 00m',
    '--budget $50.00 is more than limits.maxTaskBudget allows: it is $10.00',
  ])
  expect(cutLimits({}, limits, {})).toEqual([])
})

test('the store counts each dollar once, on the day, user and token it was spent with', () => {
  const store = openStore(join(temporaryDirectory(), 'gateway.db'))
  const [id, launchId, now] = [newTaskId(), newLaunchId(), new Date().toISOString()]
  store.insertTask({
    task: {
      id,
      owner: 'alice',
      spec: TaskSpec.parse({ prompt: 'x', workspace: { kind: 'none' } }),
      createdAt: now,
      turns: [{ turn: 1, prompt: 'x', createdAt: now, budgetUsd: 2 }],
      workspace: {},
      usage: NO_USAGE,
      lastSeq: 0,
      state: 'launching',
      launchId,
      since: now,
    },
    tokenId,
    secrets: undefined,
    events: [],
  })
  store.insertLaunch({ launchId, taskId: id, launcher: 'list', joinHash: 'j', createdAt: now })
  const says = (agentSeq: number, costUsd: number) => {
    const event: AgentEvent = { agentSeq, at: now, turn: 1, type: 'usage', usage: { ...NO_USAGE, costUsd } }
    store.recordEvents(launchId, [event], () => ({ usage: { ...NO_USAGE, costUsd } }))
  }
  expect(store.takenTasks()).toEqual([{ owner: 'alice', tokenId, reservedUsd: 2 }])
  says(1, 0.5)
  says(2, 0.75)
  says(2, 0.75) // sent again after a lost connection
  expect(store.spentOn(utcDay(Date.now()))).toEqual([{ owner: 'alice', tokenId, usd: 0.75 }])
  expect(store.takenTasks()).toEqual([{ owner: 'alice', tokenId, reservedUsd: 1.25 }])
  says(3, 0) // an agent that takes its word back gets no money back
  expect(store.spentOn(utcDay(Date.now()))[0]?.usd).toBe(0.75)
  expect(store.spentOn('2020-01-01')).toEqual([])
  store.close()
})

test('a turn that was cut short without a word on its cost counts as what it was given', () => {
  const turn = { turn: 1, prompt: 'x', createdAt: '', startedAt: '2026-01-01T00:00:00Z', budgetUsd: 2 }
  const task = { turns: [turn], usage: NO_USAGE } as Pick<Task, 'turns' | 'usage'>
  const usage = { ...NO_USAGE, inputTokens: 100 }
  const result = (more: Partial<RunResult>) => ({ outcome: 'cancelled', usage, ...more }) as RunResult
  expect(chargeForUnknown(task, undefined)).toBe(2)
  expect(chargeForUnknown(task, result({}))).toBe(2)
  expect(chargeForUnknown(task, result({ outcome: 'succeeded' }))).toBe(0) // a model that costs nothing
  expect(chargeForUnknown(task, result({ usage: NO_USAGE }))).toBe(0) // it had not begun to speak
  expect(chargeForUnknown(task, result({ usage: NO_USAGE, costUnknown: true }))).toBe(2) // stopped in its first answer
  expect(chargeForUnknown(task, result({ usage: { ...usage, costUsd: 0.1 } }))).toBe(0)
  expect(chargeForUnknown({ turns: [{ ...turn, startedAt: undefined }], usage: NO_USAGE } as never, undefined)).toBe(0)
})
