/** How a task on ECS ends, by itself or against its will: its machine is stopped and no longer paid for. The numbers are those of docs/ecs.md. */
import { expect, test } from 'vitest'
import { machineFor } from '../../gateway/tasks/machine.ts'
import { newGatewayId } from '../../protocol/ids.ts'
import { routes } from '../../protocol/routes.ts'
import type { CreateTaskInput } from '../../protocol/task.ts'
import { startEcsGateway } from '../helpers/ecs/gateway.ts'
import type { Ecs } from '../helpers/ecs/server.ts'
import { ecsLauncherAt } from '../helpers/ecs/site.ts'
import { ecsWorld } from '../helpers/ecs/world.ts'
import { eventually } from '../helpers/eventually.ts'
import { launchOptions, launchSpec } from '../helpers/launching.ts'
import type { StubGateway } from '../helpers/stub-gateway.ts'
import { uploadFiles } from '../helpers/upload.ts'

const SLEEP: CreateTaskInput = { agent: 'command', command: ['sleep', '600'], workspace: { kind: 'none' } }

const started = (gateway: StubGateway) => gateway.api.call(routes.createTask, { body: SLEEP })

const ended = (gateway: StubGateway, id: string) =>
  eventually('it has ended', async () => {
    const task = await gateway.getTask(id)
    return task.state === 'ended' && task
  })

const stopReasons = ({ calls }: Ecs) =>
  calls.filter(({ operation }) => operation === 'StopTask').map(({ input }) => input.reason)

test('17: a machine that does not come before the deadline of launches is no longer waited for, nor bought', async () => {
  const { ecs, gateway } = await startEcsGateway({ agent: 'asleep', section: { deadlines: { launch: 1, dial: 60 } } })
  ecs.faults.next('RunTask', { kind: 'no-capacity', ms: 600_000 })
  const { id } = await started(gateway)
  expect(await ended(gateway, id)).toMatchObject({
    outcome: 'failed',
    reason: 'capacity',
    message: 'no machine ran it within 1 s (launchers.ecs.deadlines.launch): ECS looks for a machine',
  })
  expect(stopReasons(ecs)).toEqual(['the task has ended'])
  expect(ecs.tasks().map(({ status, pid, billedMs }) => ({ status, pid, billedMs }))).toEqual([
    { status: 'STOPPED', pid: undefined, billedMs: 0 },
  ])
  expect((await gateway.getTask(id)).machineCost).toEqual({ usd: 0, seconds: 0 })
})

test('30: what the task says of its machine is what AWS bills, the wait for one left out', async () => {
  const { ecs, gateway } = await startEcsGateway({ agent: 'real' })
  ecs.faults.next('RunTask', { kind: 'no-capacity', ms: 1_000 })
  const { id } = await gateway.api.call(routes.createTask, { body: { ...SLEEP, command: ['true'] } })
  expect(await ended(gateway, id)).toMatchObject({ outcome: 'succeeded' })
  const [task] = ecs.tasks()
  const { seconds = 0 } = (await gateway.getTask(id)).machineCost ?? {}
  expect(seconds * 1_000).toBeCloseTo(task?.billedMs ?? 0, 3)
  expect((task?.stoppedAt ?? 0) - (task?.createdAt ?? 0)).toBeGreaterThan(1_000 + seconds * 1_000)
})

test('30: what a task that runs has cost so far leaves out the wait for its machine, too', async () => {
  const { ecs, gateway } = await startEcsGateway({ agent: 'real' })
  ecs.faults.next('RunTask', { kind: 'no-capacity', ms: 1_500 })
  const { id } = await started(gateway)
  await eventually('it waits for nothing', async () => {
    const { state, machineCost } = await gateway.getTask(id)
    return state === 'starting' && machineCost?.seconds === 0
  })
  const cost = await eventually('its machine is paid for', async () => {
    const task = await gateway.getTask(id)
    return task.state === 'running' && task.placement.paidFrom ? task.machineCost : undefined
  })
  const [machine] = ecs.tasks()
  expect(cost?.seconds).toBeLessThan((Date.now() - (machine?.createdAt ?? 0)) / 1_000 - 1.4)
})

test('18: a machine that runs, and whose agent never dials, is stopped', async () => {
  const { ecs, gateway } = await startEcsGateway({ agent: 'asleep', section: { deadlines: { launch: 600, dial: 1 } } })
  const { id } = await started(gateway)
  expect(await ended(gateway, id)).toMatchObject({
    outcome: 'failed',
    reason: 'start_timeout',
    message: 'the agent did not dial in within 1 s (launchers.ecs.deadlines.dial)',
  })
  expect(stopReasons(ecs)).toEqual(['the task has ended'])
  expect(ecs.tasks().map(({ status }) => status)).toEqual(['STOPPED'])
})

test('19: a task that is stopped while ECS answers is stopped as soon as its machine is known', async () => {
  const { ecs, gateway } = await startEcsGateway({ agent: 'asleep' })
  const stopped: { id?: string } = {}
  const stop = async () => {
    await eventually('the task is known here', () => stopped.id)
    await gateway.api.call(routes.stopTask, { params: { taskId: stopped.id ?? '' }, body: { reason: 'never mind' } })
  }
  ecs.faults.next('RunTask', { kind: 'meanwhile', when: 'after', happens: stop })
  const { id } = await started(gateway)
  stopped.id = id
  expect(await ended(gateway, id)).toMatchObject({ outcome: 'cancelled', message: 'never mind' })
  expect(ecs.tasks().map(({ status }) => status)).toEqual(['STOPPED'])
})

test('24: a machine that Spot takes away saves what its task had done, and says so', async () => {
  const { ecs, world } = await ecsWorld()
  const script = 'echo half >> hello.txt; echo ready; sleep 600'
  const { id } = await world.createTask({ ...SLEEP, command: ['sh', '-c', script], workspace: { kind: 'snapshot' } })
  await uploadFiles(world, id, { 'hello.txt': 'hello\n' })
  await eventually('it has done half of it', async () =>
    (await world.events(id)).some((event) => event.type === 'output' && event.text.includes('ready')),
  )
  ecs.interruptSpot(ecs.tasks()[0]?.arn ?? '')
  expect(await world.ended(id)).toMatchObject({ outcome: 'interrupted', reason: 'infrastructure', incomplete: false })
  const patch = await world.cli(['diff', id], { env: world.asAdmin })
  expect(patch.stdout).toContain('+half')
})

test("22: after a restart what is known goes on, what nobody owns is stopped, and what is another's is left alone", async () => {
  const { ecs, world } = await ecsWorld()
  const { id } = await world.createTask(SLEEP)
  const before = await eventually('it is known since when it is paid for', async () => {
    const task = await world.getTask(id)
    return task.state === 'running' && task.placement.paidFrom ? task.placement : undefined
  })
  const gatewayId = ecs.tasks()[0]?.options.request.startedBy?.replace('rclaude/', '') ?? ''
  await world.killGateway()
  const launched = async (owner: string) => {
    const launcher = ecsLauncherAt(ecs, owner)
    const machine = machineFor(launcher, { agent: 'command' })
    const { handle } = await launcher.launch(launchSpec({ machine }), launchOptions())
    const task = ecs.tasks().find(({ arn }) => arn === handle)
    await eventually('it runs', () => task?.status === 'RUNNING')
    return task
  }
  const orphan = await launched(gatewayId)
  const stranger = await launched(newGatewayId())
  await world.startGateway()
  await eventually('the orphan is stopped', () => orphan?.status === 'STOPPED')
  expect(orphan?.stoppedReason).toBe('no task owns it')
  await eventually('the agent is back', async () => {
    const task = await world.getTask(id)
    return task.state === 'running' && task.connection.online
  })
  expect(await world.getTask(id)).toMatchObject({ placement: before })
  expect(ecs.tasks().map(({ status }) => status)).toEqual(['RUNNING', 'STOPPED', 'RUNNING'])
  expect(stranger?.desired).toBe('RUNNING')
})

test('26: an agent whose gateway does not come back ends its work and its task; the next gateway tells what is known', async () => {
  const { ecs, world } = await ecsWorld({ RCLAUDE_DEADLINES__MAX_OFFLINE: '1s' })
  const { id } = await world.createTask(SLEEP)
  await eventually('its work has begun', async () => (await world.getTask(id)).turns[0]?.startedAt)
  await world.killGateway()
  const [task] = ecs.tasks()
  await eventually('ECS says that it has stopped', () => task?.status === 'STOPPED')
  expect(task).toMatchObject({ stopCode: 'EssentialContainerExited', exitCode: 0 })
  const paid = task?.billedMs
  await world.startGateway()
  expect(await world.ended(id)).toMatchObject({ outcome: 'lost', reason: 'placement_gone' })
  expect(ecs.tasks()).toHaveLength(1)
  expect(task?.billedMs).toBe(paid)
})

test('26: no task runs longer than it may, and one that asks for more is told so before', async () => {
  const { ecs, world } = await ecsWorld({ RCLAUDE_LIMITS__TASK_TIMEOUT: '1s' })
  const { id } = await world.createTask({ ...SLEEP, limits: { timeoutSeconds: 7_200 } })
  expect(await world.ended(id)).toMatchObject({
    outcome: 'timeout',
    reason: 'max_duration',
    message: expect.stringContaining('limits.taskTimeout'),
  })
  expect(await world.events(id)).toContainEqual(
    expect.objectContaining({ type: 'warning', message: expect.stringContaining('limits.taskTimeout') }),
  )
  expect(ecs.tasks().map(({ status }) => status)).toEqual(['STOPPED'])
})
