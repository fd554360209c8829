/** A launcher that has no machine now is asked again; one that says no is not. */
import { expect, test } from 'vitest'
import { RclaudeError } from '../../../protocol/errors.ts'
import { routes } from '../../../protocol/routes.ts'
import type { Task } from '../../../protocol/task.ts'
import { eventually } from '../../helpers/eventually.ts'
import { listLauncher } from '../../helpers/list-launcher.ts'
import { type StubGateway, startStubGateway } from '../../helpers/stub-gateway.ts'

const noMachine = () => new RclaudeError('unavailable', 'no capacity in eu-west-1')

const start = (gateway: StubGateway) =>
  gateway.api.call(routes.createTask, {
    body: { agent: 'command', command: ['true'], launcher: 'list', workspace: { kind: 'none' } },
  })

const ended = (gateway: StubGateway, taskId: string): Promise<Task & { state: 'ended' }> =>
  eventually('it has ended', async () => {
    const now = await gateway.getTask(taskId)
    return now.state === 'ended' ? now : undefined
  })

const settings = (launchAttempts: number, launchRetry = '50ms') => ({
  intervals: { reconcile: '50ms', launchRetry },
  limits: { launchAttempts },
})

test('a task waits while no machine can be had, and is launched once when there is one', async () => {
  const launcher = listLauncher([noMachine(), noMachine()])
  const gateway = await startStubGateway(settings(5), { launchers: [launcher] })
  const { id } = await start(gateway)
  const task = await eventually('it is launched', async () => {
    const now = await gateway.getTask(id)
    return now.state === 'starting' ? now : undefined
  })
  expect(launcher.launches).toHaveLength(3)
  expect(new Set(launcher.launches).size).toBe(3)
  expect(task.placement.launchId).toBe(launcher.launches[2])
  const said: string[] = []
  for await (const event of gateway.api.events(id))
    if (event.type === 'state' && event.state === 'queued' && event.message) said.push(event.message)
    else if (event.type === 'state' && event.state === 'starting') break
  expect(said.slice(1)).toEqual([
    expect.stringMatching(/^no capacity in eu-west-1; attempt 2 of 5 in /),
    expect.stringMatching(/^no capacity in eu-west-1; attempt 3 of 5 in /),
  ])
})

test('after the last attempt the task has failed for want of a machine', async () => {
  const launcher = listLauncher([noMachine(), noMachine(), noMachine()])
  const gateway = await startStubGateway(settings(2), { launchers: [launcher] })
  const { id } = await start(gateway)
  expect(await ended(gateway, id)).toMatchObject({
    outcome: 'failed',
    reason: 'capacity',
    message: 'no capacity in eu-west-1',
  })
  expect(launcher.launches).toHaveLength(2)
})

test('a launch that was refused for good is not tried again', async () => {
  const launcher = listLauncher([new RclaudeError('invalid', 'no such subnet')])
  const gateway = await startStubGateway(settings(5), { launchers: [launcher] })
  const { id } = await start(gateway)
  expect(await ended(gateway, id)).toMatchObject({ outcome: 'failed', reason: 'launch', message: 'no such subnet' })
  expect(launcher.launches).toHaveLength(1)
})

test('a task that waits for a machine can be stopped, and takes nobody else’s turn', async () => {
  const launcher = listLauncher([noMachine()])
  const gateway = await startStubGateway(settings(5, '1h'), { launchers: [launcher] })
  const first = await start(gateway)
  await eventually('it waits', async () => {
    const now = await gateway.getTask(first.id)
    return now.state === 'queued' && now.notBefore !== undefined
  })
  const second = await start(gateway)
  await eventually('the other one is launched', async () => (await gateway.getTask(second.id)).state === 'starting')
  await gateway.api.call(routes.stopTask, { params: { taskId: first.id }, body: {} })
  expect(await ended(gateway, first.id)).toMatchObject({ outcome: 'cancelled', reason: 'user' })
})
