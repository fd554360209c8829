/** Money, with the real Claude Code: what it says it cost is counted, and the day's budget holds. */
import { expect, test } from 'vitest'
import { bash, hang, type Script, say, steps } from '../../demo/model-server.ts'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import type { CreateTaskInput, Task } from '../../protocol/task.ts'
import { eventually } from '../helpers/eventually.ts'
import { makeRepository } from '../helpers/repository.ts'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { startWorld, type World } from '../helpers/world.ts'

/** Runs twenty tools, then has done. */
const TWENTY: Script = ({ step }) => (step < 20 ? bash('true') : say('Done.'))

const prompt = (budgetUsd?: number): CreateTaskInput => ({
  prompt: 'do it',
  workspace: { kind: 'none' },
  ...(budgetUsd !== undefined && { limits: { budgetUsd } }),
})

test('a spent budget of the day refuses new tasks with 429, what was spent and when it starts anew', async () => {
  const world = await startWorld({
    settings: { RCLAUDE_LIMITS__DAILY_BUDGET_PER_USER: '0.02', RCLAUDE_LIMITS__TASK_BUDGET: '0.01' },
    script: steps(bash('true'), bash('true'), bash('true'), bash('true'), say('Done.')),
  })
  let cost = 0
  for (let tasks = 0; cost < 0.0101 && tasks < 10; tasks++) {
    const task = await world.ended((await world.createTask(prompt())).id)
    expect(task.usage.costUsd).toBeGreaterThan(0)
    expect(task.turns[0]?.budgetUsd).toBeLessThanOrEqual(0.01)
    cost += task.usage.costUsd
  }
  const refused = await world.createTask(prompt()).catch((error: unknown) => error)
  expect(refused).toMatchObject({ code: 'limit', status: 429 })
  expect(String(refused)).toMatch(
    /has spent \$0\.\d\d of \$0\.02 today \(limits\.dailyBudgetPerUser\); .*T00:00Z, midnight UTC/,
  )
  const { retryAfterSeconds } = refused as { retryAfterSeconds: number }
  expect(retryAfterSeconds).toBeGreaterThan(0)
  expect(retryAfterSeconds).toBeLessThanOrEqual(86_400)

  const folder = await makeRepository(world)
  const ran = await world.cli(['run', '--unsandboxed', 'more'], { cwd: folder, env: world.asAdmin })
  expect(ran.code).toBe(EXIT_CODES.budget)
  expect(ran.stderr).toContain('limits.dailyBudgetPerUser')
  // A plain command costs no model money.
  await world.ended((await world.createTask({ agent: 'command', command: ['true'], workspace: { kind: 'none' } })).id)
})

test('a task whose budget others have set aside waits for it', async () => {
  const world = await startWorld({
    settings: { RCLAUDE_LIMITS__DAILY_BUDGET_PER_USER: '1' },
    script: steps(bash('true'), hang),
  })
  stopTasksAfterwards(world)
  const first = await world.createTask(prompt(0.8))
  await atWork(world, first.id)
  const second = await world.createTask(prompt(0.8))
  await eventually('the second waits', async () => {
    const task = await world.getTask(second.id)
    return task.state === 'queued' && task.limit === 'limits.dailyBudgetPerUser' && task.position === 1
  })
  await eventually(
    'the model was asked twice',
    () => world.model.requests.filter(({ kind }) => kind === 'conversation').length >= 2,
  )
  await world.api().call(routes.stopTask, { params: { taskId: first.id }, body: {} })
  const { usage } = await world.ended(first.id)
  await eventually('the second is launched', async () => (await world.getTask(second.id)).state !== 'queued')
  // An interrupted Claude Code nearly always tells its cost; where it did not, all it was given is charged.
  const isUnknown = usage.costUsd === 0
  expect((await world.getTask(second.id)).turns[0]?.budgetUsd).toBeCloseTo(isUnknown ? 0.2 : 0.8)
})

test('a task that was killed before it told its cost counts as what it was given', async () => {
  const world = await startWorld({
    settings: { RCLAUDE_LIMITS__DAILY_BUDGET_PER_USER: '1' },
    script: steps(bash('true'), hang),
  })
  stopTasksAfterwards(world)
  const first = await world.createTask(prompt(0.7))
  const running = await atWork(world, first.id)
  process.kill(Number(running.state === 'running' && running.placement.handle), 'SIGKILL')
  expect(await world.ended(first.id)).toMatchObject({ outcome: 'lost', usage: { costUsd: 0 } })
  const second = await world.createTask(prompt(0.8))
  await atWork(world, second.id)
  expect((await world.getTask(second.id)).turns[0]?.budgetUsd).toBeCloseTo(0.3)
  const { users } = await world.api().call(routes.limits, { query: {} })
  expect(users[0]?.usdToday).toMatchObject({ used: 0.7, reserved: expect.closeTo(0.3), max: 1 })
})

test('a task that is stopped in the first answer of its model counts as what it was given', async () => {
  const world = await startWorld({ settings: { RCLAUDE_LIMITS__DAILY_BUDGET_PER_USER: '1' }, script: steps(hang) })
  stopTasksAfterwards(world)
  const { id } = await world.createTask(prompt(0.7))
  await eventually('the model was asked', () => world.model.requests.some(({ kind }) => kind === 'conversation'))
  await world.api().call(routes.stopTask, { params: { taskId: id }, body: {} })
  expect(await world.ended(id)).toMatchObject({ outcome: 'cancelled', usage: { costUsd: 0 } })
  const { users } = await world.api().call(routes.limits, { query: {} })
  expect(users[0]?.usdToday.used).toBeCloseTo(0.7)
})

test('a turn overshoots its budget by less than one answer of the model', async () => {
  const world = await startWorld({ script: TWENTY })
  const free = await world.ended((await world.createTask(prompt())).id)
  const perAnswer = free.usage.costUsd / 21
  const budgetUsd = perAnswer * 4.5
  const task = await world.ended((await world.createTask(prompt(budgetUsd))).id)
  expect(task).toMatchObject({ outcome: 'budget', reason: 'max_budget' })
  expect(task.usage.costUsd).toBeGreaterThanOrEqual(budgetUsd)
  expect(task.usage.costUsd).toBeLessThan(budgetUsd + perAnswer)
})

test('the end of a budget that the gateway set names its key', async () => {
  const world = await startWorld({
    settings: { RCLAUDE_LIMITS__MAX_TASK_BUDGET: '0.01' },
    script: TWENTY,
  })
  const task = await world.ended((await world.createTask(prompt(5))).id)
  expect(task).toMatchObject({ outcome: 'budget', message: expect.stringContaining('limits.maxTaskBudget') })
  const warnings = (await world.events(task.id)).filter((event) => event.type === 'warning')
  expect(warnings[0]).toMatchObject({
    message: '--budget $5.00 is more than limits.maxTaskBudget allows: it is $0.01',
  })
})

test('a turn on a kept machine gets what is left of the day, and is refused when that is spent', async () => {
  const world = await startWorld({ settings: { RCLAUDE_LIMITS__DAILY_BUDGET_PER_USER: '0.15' }, script: TWENTY })
  stopTasksAfterwards(world)
  const { id } = await world.createTask({ ...prompt(), keepSeconds: 600 })
  const kept = (turns: number) =>
    eventually(`turn ${turns} is done`, async () => {
      const task = await world.getTask(id)
      const isKept = task.state === 'running' && task.keptUntil !== undefined
      return isKept && task.turns.length === turns && task
    })
  const goOn = () => world.api().call(routes.continueTask, { params: { taskId: id }, body: { prompt: 'more' } })
  const first = await kept(1)
  expect(first.turns[0]?.budgetUsd).toBe(0.15)
  await goOn()
  const second = await kept(2)
  expect(second.turns[1]?.budgetUsd).toBeCloseTo(0.15 - first.usage.costUsd)
  expect(second.turns[1]?.result).toMatchObject({
    outcome: 'budget',
    message: expect.stringContaining('the limit is that of the budget of the day'),
  })
  await expect(goOn()).rejects.toMatchObject({ code: 'limit', message: expect.stringContaining('dailyBudgetPerUser') })
})

const atWork = async (world: World, taskId: string): Promise<Task> => {
  await eventually('it is at work', async () =>
    (await world.events(taskId)).some((event) => event.type === 'session_update'),
  )
  return world.getTask(taskId)
}
