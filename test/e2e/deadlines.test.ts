/** Every state has a deadline, and what passes it ends as what it is. */
import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { routes } from '../../protocol/routes.ts'
import type { CreateTaskInput, Task } from '../../protocol/task.ts'
import { eventually } from '../helpers/eventually.ts'
import { uploadFiles } from '../helpers/upload.ts'
import { startWorld, World } from '../helpers/world.ts'

async function start(world: World, script: string, more: Partial<CreateTaskInput> = {}): Promise<Task> {
  const task = await world.createTask({
    agent: 'command',
    command: ['sh', '-c', script],
    workspace: { kind: 'snapshot' },
    ...more,
  })
  await uploadFiles(world, task.id, { 'hello.txt': 'hello\n' })
  return task
}

const pidOf = (task: Task): number => (task.state === 'running' ? Number(task.placement.handle) : 0)

test('starting: an agent that cannot dial in is given up, and nothing of it is left', async () => {
  const world = await startWorld({
    settings: { RCLAUDE_AGENT_URL: 'http://127.0.0.1:9', RCLAUDE_DEADLINES__START: '2s' },
  })
  const { id } = await start(world, 'true')
  expect(await world.ended(id)).toMatchObject({ outcome: 'failed', reason: 'start_timeout' })
  expect(world.commands().filter((command) => command.includes('agent.js'))).toEqual([])
})

test('launching: a launcher that takes too long has failed, and what it started all the same is stopped', async () => {
  const world = await startWorld({ settings: { RCLAUDE_DEADLINES__LAUNCH: '1ms' } })
  const { id } = await start(world, 'sleep 300')
  expect(await world.ended(id)).toMatchObject({ outcome: 'failed', reason: 'launch' })
  await eventually('it is stopped', () => world.gatewayLog.includes('stopping what was launched too late'))
  await eventually('nothing of it runs', () => !world.commands().some((command) => command.includes('agent.js')))
})

test('starting: an agent that dies at once is told with its last words', async () => {
  const world = new World()
  const dist = join(world.directory, 'dist')
  cpSync('dist', dist, { recursive: true })
  rmSync(join(dist, 'agent.js'))
  cpSync('node_modules/better-sqlite3', join(world.directory, 'node_modules/better-sqlite3'), { recursive: true })
  for (const name of ['bindings', 'file-uri-to-path'])
    cpSync(`node_modules/${name}`, join(world.directory, 'node_modules', name), { recursive: true })
  const running = await startWorld({ world, dist })
  const { id } = await start(running, 'true')
  const task = await running.ended(id)
  expect(task).toMatchObject({ outcome: 'failed', reason: 'launch' })
  expect(task.message).toMatch(/ended before it dialled in; its last words: .*agent\.js/s)
})

test('running: an agent that falls silent is lost, also when the gateway was killed meanwhile', async () => {
  const world = await startWorld({ settings: { RCLAUDE_DEADLINES__OFFLINE: '2s' } })
  const { id } = await start(world, 'sleep 300')
  const pid = pidOf(await world.state(id, 'running'))
  await eventually('it works', () => world.commands().some((command) => command.startsWith('sleep 300')))
  process.kill(pid, 'SIGSTOP')
  await world.killGateway()
  await world.startGateway()
  expect(await world.ended(id, 30_000)).toMatchObject({ outcome: 'lost', reason: 'offline' })
  expect(world.commands().filter((command) => command.startsWith('sleep'))).toEqual([])
}, 60_000)

test('running: work that takes longer to stop than it should is still saved', async () => {
  const world = await startWorld({ settings: { RCLAUDE_DEADLINES__STOP: '1s' } })
  const { id } = await start(world, "trap '' INT TERM; echo partial > hello.txt; while :; do sleep 1; done")
  await eventually('it works', () => world.commands().some((command) => command.startsWith('sleep 1')))
  await world.api().call(routes.stopTask, { params: { taskId: id }, body: {} })
  const task = await world.ended(id)
  expect(task).toMatchObject({ outcome: 'cancelled', reason: 'user' })
  expect(task.turns[0]?.result?.filesChanged).toBe(1)
})

test('kept: the machine goes when its time is up, and the outcome is that of the turn', async () => {
  const world = await startWorld()
  const { id } = await start(world, 'echo changed > hello.txt', { keepSeconds: 2 })
  const kept = await eventually('it is kept', async () => {
    const task = await world.getTask(id)
    return task.state === 'running' && task.keptUntil !== undefined && task
  })
  expect(kept.turns[0]?.result?.outcome).toBe('succeeded')
  expect(await world.ended(id)).toMatchObject({ outcome: 'succeeded', incomplete: false })
  expect(world.commands().filter((command) => command.includes('agent.js'))).toEqual([])
})

test('the time that a gateway was away is on nobody’s account', async () => {
  const world = await startWorld({ settings: { RCLAUDE_DEADLINES__WORKSPACE: '3s' } })
  const task = await world.createTask({ agent: 'command', command: ['true'], workspace: { kind: 'snapshot' } })
  await world.killGateway()
  await new Promise((resolve) => setTimeout(resolve, 3_500)) // longer than the deadline
  await world.startGateway()
  await uploadFiles(world, task.id, { 'hello.txt': 'hello\n' })
  expect(await world.ended(task.id)).toMatchObject({ outcome: 'succeeded' })
})

test('odd but legal durations in the configuration work', async () => {
  const world = await startWorld({
    settings: {
      RCLAUDE_INTERVALS__CHECKPOINT: '1500ms',
      RCLAUDE_LIMITS__TASK_TIMEOUT: '8d',
      RCLAUDE_LIMITS__TASK_IDLE: '2d',
      RCLAUDE_DEADLINES__MAX_OFFLINE: '90500ms',
    },
  })
  const { id } = await start(world, 'true')
  expect(await world.ended(id)).toMatchObject({ outcome: 'succeeded' })
})

test('a result that cannot be read ends the task all the same, without its machine', async () => {
  const world = await startWorld({ settings: { RCLAUDE_DEADLINES__FINISH: '2s' } })
  const { id } = await start(world, 'sleep 2')
  await eventually('it works', () => world.commands().some((command) => command.startsWith('sleep 2')))
  rmSync(join(world.data, 'workspaces', `${id}.git`), { recursive: true })
  const task = await world.ended(id)
  expect(task.incomplete).toBe(true)
  expect(world.commands().filter((command) => command.includes('agent.js'))).toEqual([])
})

test('running: work that cannot be handed to the agent ends with the reason', async () => {
  const world = await startWorld({
    settings: { RCLAUDE_DEADLINES__START: '3s', RCLAUDE_DEADLINES__FINISH: '2s', RCLAUDE_LIMITS__MAX_TASKS: '1' },
  })
  const first = await start(world, 'sleep 2')
  const { id } = await start(world, 'true') // waits in the queue
  rmSync(join(world.data, 'workspaces', `${id}.git`), { recursive: true })
  await world.ended(first.id)
  const task = await world.ended(id)
  expect(task).toMatchObject({ outcome: 'failed', reason: 'internal' })
  expect(task.message).toMatch(/could not be given its work: .*no workspace/)
  expect(world.commands().filter((command) => command.includes('agent.js'))).toEqual([])
})
