/** Every outcome and reason, reached with the real Claude Code or a real process behind a real gateway and agent. */
import { userInfo } from 'node:os'
import { expect, test } from 'vitest'
import { bash, fail, hang, say, steps, use } from '../../demo/model-server.ts'
import { routes } from '../../protocol/routes.ts'
import type { CreateTaskInput, Task } from '../../protocol/task.ts'
import { eventually } from '../helpers/eventually.ts'
import { uploadFiles } from '../helpers/upload.ts'
import { startWorld, type World } from '../helpers/world.ts'

const FILES = { 'hello.txt': 'hello\n' }
/** Claude Code tries again for minutes when a model fails; a test has not got them. */
const NO_RETRIES = { CLAUDE_CODE_MAX_RETRIES: '0' }

async function run(world: World, spec: Partial<CreateTaskInput>): Promise<Task & { state: 'ended' }> {
  const task = await start(world, spec)
  return world.ended(task.id)
}

async function start(world: World, spec: Partial<CreateTaskInput>): Promise<Task> {
  const task = await world.createTask({
    workspace: { kind: 'snapshot' },
    ...(spec.agent !== 'command' && { prompt: 'do it' }),
    ...spec,
  })
  if (task.spec.workspace.kind === 'snapshot') await uploadFiles(world, task.id, FILES)
  return task
}

const resultOf = (task: Task) => task.turns.at(-1)?.result

test('succeeded: the files changed, and usage, cost, turns and duration are on the task', async () => {
  const world = await startWorld({
    script: steps(bash('echo changed > hello.txt && echo made > new.txt'), say('Done as asked.')),
  })
  const task = await run(world, { check: 'grep -q changed hello.txt' })
  expect(task).toMatchObject({ outcome: 'succeeded', reason: 'completed', incomplete: false })
  expect(resultOf(task)).toMatchObject({
    filesChanged: 2,
    check: { verdict: 'passed', exitCode: 0 },
    summary: 'Done as asked.',
  })
  expect(task.usage.inputTokens).toBeGreaterThan(0)
  expect(task.usage.costUsd).toBeGreaterThan(0)
  expect(task.usage.turns).toBe(2)
  expect(resultOf(task)?.durationMs).toBeGreaterThan(0)
  expect(task.workspace.result).toBe(resultOf(task)?.commit)
})

test('succeeded with a failed check: the verdict stands beside the outcome', async () => {
  const world = await startWorld({ script: steps(bash('echo changed > hello.txt'), say('Done.')) })
  const task = await run(world, { check: 'echo not good >&2; exit 3' })
  expect(task.outcome).toBe('succeeded')
  expect(resultOf(task)?.check).toMatchObject({ verdict: 'failed', exitCode: 3 })
  const output = (await world.events(task.id)).find((event) => event.type === 'output' && event.step === 'check')
  expect(output).toMatchObject({ channel: 'stderr', text: 'not good\n' })
})

test('no_changes: it finished and left every file as it was', async () => {
  const world = await startWorld({ script: steps(say('Nothing to do here.')) })
  const task = await run(world, {})
  expect(task).toMatchObject({ outcome: 'no_changes', reason: 'completed' })
  expect(resultOf(task)).toMatchObject({ filesChanged: 0, check: { verdict: 'none' } })
})

test('blocked: every tool call was denied although Claude Code exits with 0', async () => {
  const world = await startWorld({
    script: steps(use('Write', { file_path: 'a.txt', content: 'x' }), say('I was not allowed to.')),
  })
  const task = await run(world, { permissionMode: 'default' })
  expect(task).toMatchObject({ outcome: 'blocked', reason: 'permission_denied' })
})

test('budget: the limit on cost was reached', async () => {
  const expensive = { input: 2_000_000, output: 100_000, cacheRead: 0, cacheWrite: 0 }
  const world = await startWorld({
    script: steps(bash('echo one', { usage: expensive }), bash('echo two', { usage: expensive }), say('Done.')),
  })
  const task = await run(world, { limits: { budgetUsd: 0.5 } })
  expect(task).toMatchObject({ outcome: 'budget', reason: 'max_budget' })
  expect(task.usage.costUsd).toBeGreaterThan(0.5)
})

test('budget: the limit on turns was reached', async () => {
  const world = await startWorld({
    script: steps(bash('echo one'), bash('echo two'), bash('echo three'), say('Done.')),
  })
  const task = await run(world, { limits: { maxTurns: 2 } })
  expect(task).toMatchObject({ outcome: 'budget', reason: 'max_turns' })
})

test.each([
  [401, 'invalid x-api-key', 'model_auth'],
  [429, 'This request would exceed your rate limit', 'model_limit'],
  [500, 'Internal server error', 'model_unavailable'],
] as const)('failed: a model that answers %d is told as what it is', async (status, message, reason) => {
  const world = await startWorld({ script: steps(fail(status, message)) })
  const task = await run(world, { env: NO_RETRIES })
  expect(task).toMatchObject({ outcome: 'failed', reason })
})

test('failed: Claude Code that is killed in the middle has no result, and what it did is saved', async () => {
  const world = await startWorld({
    script: steps(bash('echo partial > hello.txt'), bash('kill -9 $PPID; sleep 1'), say('never')),
  })
  const task = await run(world, {})
  expect(task).toMatchObject({ outcome: 'failed', reason: 'agent_crash' })
  expect(resultOf(task)?.filesChanged).toBe(1)
})

test('failed: the coding agent is not installed where the task runs', async () => {
  const world = await startWorld({ settings: { RCLAUDE_CLAUDE: '/nonexistent/claude' }, script: steps(say('never')) })
  const task = await run(world, {})
  expect(task).toMatchObject({ outcome: 'failed', reason: 'agent_missing' })
  expect(world.model.requests).toEqual([])
})

test('failed: the setup command failed before the model was asked', async () => {
  const world = await startWorld({ script: steps(say('never')) })
  const task = await run(world, { setup: 'echo cannot >&2; exit 7' })
  expect(task).toMatchObject({ outcome: 'failed', reason: 'setup' })
  expect(task.message).toMatch(/exited with 7/)
  expect(world.model.requests).toEqual([])
})

test('setup runs in the workspace with the environment of the run', async () => {
  const world = await startWorld()
  const task = await run(world, {
    agent: 'command',
    command: ['sh', '-c', 'test "$(cat prepared)" = "hello $NAME"'],
    setup: 'echo "$(cat hello.txt) $NAME" > prepared',
    env: { NAME: 'world' },
  })
  expect(task).toMatchObject({ outcome: 'succeeded' })
})

test('failed: a repository that cannot be cloned is named', async () => {
  const world = await startWorld()
  const task = await run(world, {
    agent: 'command',
    command: ['true'],
    workspace: { kind: 'repo', url: 'file:///nonexistent/repo.git' },
  })
  expect(task).toMatchObject({ outcome: 'failed', reason: 'workspace' })
  expect(task.message).toMatch(/\/nonexistent\/repo\.git/)
})

test('failed: a workspace that never arrives', async () => {
  const world = await startWorld({ settings: { RCLAUDE_DEADLINES__WORKSPACE: '1s' } })
  const { id } = await world.createTask({ agent: 'command', command: ['true'], workspace: { kind: 'snapshot' } })
  expect(await world.ended(id)).toMatchObject({ outcome: 'failed', reason: 'workspace' })
})

test('failed: a command that exits with another code than 0', async () => {
  const world = await startWorld()
  const task = await run(world, { agent: 'command', command: ['sh', '-c', 'echo no >&2; exit 42'] })
  expect(task).toMatchObject({ outcome: 'failed', reason: 'exit_code' })
  expect(resultOf(task)?.exitCode).toBe(42)
})

test('a command that does what it should succeeds without changing a file', async () => {
  const world = await startWorld()
  expect(await run(world, { agent: 'command', command: ['true'] })).toMatchObject({ outcome: 'succeeded' })
  expect(await run(world, { agent: 'command', command: ['pwd'], workspace: { kind: 'none' } })).toMatchObject({
    outcome: 'succeeded',
  })
})

test('timeout: the time limit was reached and the partial work is saved', async () => {
  const world = await startWorld({ script: steps(bash('echo partial > hello.txt'), hang) })
  const task = await run(world, { limits: { timeoutSeconds: 5 } })
  expect(task).toMatchObject({ outcome: 'timeout', reason: 'max_duration' })
  expect(resultOf(task)?.filesChanged).toBe(1)
})

test('timeout: nothing happened for longer than the idle limit', async () => {
  const world = await startWorld({ script: steps(hang) })
  expect(await run(world, { limits: { idleSeconds: 3 } })).toMatchObject({ outcome: 'timeout', reason: 'idle' })
})

test('cancelled: a stop during the run ends the tool that runs and saves the partial work', async () => {
  const world = await startWorld({ script: steps(bash('echo partial > hello.txt; sleep 300'), say('never')) })
  const { id } = await start(world, {})
  await eventually('the tool sleeps', () => world.commands().some((command) => command.startsWith('sleep 300')))
  await world.api().call(routes.stopTask, { params: { taskId: id }, body: { reason: 'enough' } })
  const task = await world.ended(id)
  expect(task).toMatchObject({ outcome: 'cancelled', reason: 'user', message: expect.stringContaining('enough') })
  expect(resultOf(task)?.filesChanged).toBe(1)
  expect(task.stopRequested).toMatchObject({ by: userInfo().username, reason: 'enough' })
})

test('cancelled: a task that still waits for its workspace ends at once', async () => {
  const world = await startWorld()
  const { id } = await world.createTask({ agent: 'command', command: ['true'], workspace: { kind: 'snapshot' } })
  await world.api().call(routes.stopTask, { params: { taskId: id }, body: {} })
  expect(await world.ended(id)).toMatchObject({ outcome: 'cancelled', reason: 'user' })
})

test('interrupted: the machine is taken, and the agent saves what it has', async () => {
  const world = await startWorld()
  const { id } = await start(world, { agent: 'command', command: ['sh', '-c', 'echo partial > hello.txt; sleep 300'] })
  const task = await world.state(id, 'running')
  await eventually('it sleeps', () => world.commands().some((command) => command.startsWith('sleep 300')))
  process.kill(Number(task.state === 'running' && task.placement.handle), 'SIGTERM')
  const ended = await world.ended(id)
  expect(ended).toMatchObject({ outcome: 'interrupted', reason: 'infrastructure' })
  expect(resultOf(ended)?.filesChanged).toBe(1)
})

test('a task without model credentials is refused before anything is launched', async () => {
  const world = await startWorld()
  const created = world.createTask({ prompt: 'do it', workspace: { kind: 'none' } })
  await expect(created).rejects.toMatchObject({
    code: 'model_auth_missing',
    message: expect.stringContaining('ANTHROPIC_API_KEY'),
  })
})
