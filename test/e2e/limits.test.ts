/** Limits as users meet them: in the queue, in a task's log, in the words at its end. */
import { expect, test } from 'vitest'
import { hang, steps } from '../../demo/model-server.ts'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import type { CreateTaskInput } from '../../protocol/task.ts'
import { eventually } from '../helpers/eventually.ts'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { startWorld } from '../helpers/world.ts'

const command = (script: string, more: Partial<CreateTaskInput> = {}): CreateTaskInput => ({
  agent: 'command',
  command: ['sh', '-c', script],
  workspace: { kind: 'none' },
  ...more,
})

test('who waits in the queue sees the place and the limit, in run, ps and show', async () => {
  const world = await startWorld({ settings: { RCLAUDE_LIMITS__MAX_TASKS_PER_USER: '1' } })
  stopTasksAfterwards(world)
  const first = await world.createTask(command('sleep 300'))
  await world.state(first.id, 'running')
  const run = world.startCli(['run', '--unsandboxed', '--no-workspace', '--', 'echo', 'at last'], {
    env: world.asAdmin,
  })
  let printed = ''
  run.process.stdout?.on('data', (chunk: Buffer) => {
    printed += chunk.toString()
  })
  await eventually('it says so', () => printed.includes('· queued, 1st; limits.maxTasksPerUser\n'))
  const ps = await world.cli(['ps'], { env: world.asAdmin })
  expect(ps.stdout).toContain('queued (1st; limits.maxTasksPerUser)')
  const show = await world.cli(['show', '@last'], { env: world.asAdmin })
  expect(show.stdout).toContain('queued (waiting for launch, 1st; limits.maxTasksPerUser)')
  await world.api().call(routes.stopTask, { params: { taskId: first.id }, body: {} })
  const result = await run.result
  expect(result).toMatchObject({ code: 0, stdout: expect.stringContaining('at last') })
  expect(result.stdout.match(/queued/g)).toHaveLength(1)
})

test('a time limit beyond the gateway’s is cut with a word, and its end names the key', async () => {
  const world = await startWorld({ settings: { RCLAUDE_LIMITS__TASK_TIMEOUT: '2s' } })
  const { id } = await world.createTask(command('sleep 300', { limits: { timeoutSeconds: 3_600 } }))
  expect(await world.ended(id)).toMatchObject({
    outcome: 'timeout',
    message: 'the time limit of 2.0s was reached (limits.taskTimeout)',
  })
  expect((await world.events(id)).find(({ type }) => type === 'warning')).toMatchObject({
    message: '--timeout 1h 00m is more than limits.taskTimeout allows: it is 2.0s',
  })
  const own = await world.createTask(command('sleep 300', { limits: { timeoutSeconds: 1 } }))
  expect((await world.ended(own.id)).message).toBe('the time limit of 1.0s was reached (--timeout)')
})

test('a silent coding agent is ended by limits.taskIdle, which is named', async () => {
  const world = await startWorld({ settings: { RCLAUDE_LIMITS__TASK_IDLE: '2s' }, script: steps(hang) })
  const { id } = await world.createTask({ prompt: 'do it', workspace: { kind: 'none' } })
  expect((await world.ended(id)).message).toBe('nothing happened for 2.0s (limits.taskIdle)')
})

test('a token with limits of its own: made by the CLI, shown in its list, and kept', async () => {
  const world = await startWorld()
  const token = (...args: string[]) => world.cli(['token', ...args], { env: world.asAdmin })
  const limits = ['--max-tasks', '2', '--daily-budget', '10', '--task-budget', '1.5', '--task-timeout', '2s']
  const made = await token('create', 'ci', '--user', 'bot', ...limits)
  expect(made, made.stderr).toMatchObject({ code: 0 })
  expect((await token('ls')).stdout).toMatch(/bot .* 2 tasks, \$10\/day, \$1\.5\/task, 2\.0s +ci$/m)
  expect((await token('create', 'x', '--user', 'bot', '--max-tasks', '0')).code).toBe(EXIT_CODES.usage)
  expect((await token('create', 'x', '--user', 'bot', '--daily-budget', '-1')).code).toBe(EXIT_CODES.usage)

  const { id } = await world.api(made.stdout.trim()).call(routes.createTask, { body: command('sleep 300') })
  expect((await world.ended(id)).message).toBe('the time limit of 2.0s was reached (token.taskTimeout)')
})

test('a full queue refuses run with its own exit code', async () => {
  const world = await startWorld({ settings: { RCLAUDE_LIMITS__MAX_TASKS: '1', RCLAUDE_LIMITS__MAX_QUEUED: '1' } })
  stopTasksAfterwards(world)
  const first = await world.createTask(command('sleep 300'))
  await world.state(first.id, 'running')
  const run = (...args: string[]) =>
    world.cli(['run', '--unsandboxed', '--no-workspace', ...args, '--', 'true'], { env: world.asAdmin })
  expect((await run('-d')).code).toBe(0)
  expect(await run('-d', '--no-wait')).toMatchObject({
    code: EXIT_CODES.budget,
    stderr: expect.stringContaining('(limits.maxQueued)'),
  })
})

test('limits shows what runs, waits and was spent, against the limits of the user and the token; all only to administrators', async () => {
  const world = await startWorld({
    settings: {
      RCLAUDE_LIMITS__USERS__ALICE__MAX_TASKS: '1',
      RCLAUDE_LIMITS__USERS__ALICE__DAILY_BUDGET: '3',
      RCLAUDE_LIMITS__MAX_QUEUED: '7',
    },
  })
  stopTasksAfterwards(world)
  const { secret, token } = await world.api().call(routes.createToken, {
    body: { name: 'hers', user: 'alice', role: 'member', limits: { maxTasks: 5, dailyBudgetUsd: 2 } },
  })
  const alice = world.api(secret)
  const first = await alice.call(routes.createTask, { body: command('sleep 300') })
  await world.state(first.id, 'running')
  await alice.call(routes.createTask, { body: command('true') })

  const seen = await alice.call(routes.limits, { query: {} })
  const usdToday = { used: 0, reserved: 0 }
  expect(seen).toEqual({
    resetsAt: expect.stringMatching(/T00:00:00.000Z$/),
    running: { limit: 'limits.maxTasks', used: 1, max: 20 },
    users: [
      {
        user: 'alice',
        running: { limit: 'limits.users.maxTasks', used: 1, max: 1 },
        queued: { limit: 'limits.maxQueued', used: 1, max: 7 },
        usdToday: { ...usdToday, limit: 'limits.users.dailyBudget', max: 3 },
      },
    ],
    tokens: [
      {
        tokenId: token.id,
        name: 'hers',
        user: 'alice',
        running: { limit: 'token.maxTasks', used: 1, max: 5 },
        queued: { used: 1 },
        usdToday: { ...usdToday, limit: 'token.dailyBudget', max: 2 },
      },
    ],
  })
  await expect(alice.call(routes.limits, { query: { allUsers: '1' } })).rejects.toMatchObject({ code: 'forbidden' })
  const all = await world.cli(['limits', '--all-users'], { env: world.asAdmin })
  expect(all, all.stderr).toMatchObject({ code: 0, stderr: expect.stringContaining('midnight UTC') })
  expect(all.stdout).toMatch(/^user alice +1 of 1 +1 of 7 +\$0\.00 of \$3\.00 +\$0\.00$/m)
  expect(all.stdout).toMatch(/^token hers \(alice\) +1 of 5 +1 +\$0\.00 of \$2\.00 +\$0\.00$/m)
  const own = await world.cli(['limits', '--json'], { env: world.asAdmin })
  expect(JSON.parse(own.stdout).users).toHaveLength(1)
  expect(await alice.call(routes.info, {})).not.toHaveProperty('limits.users')
})
