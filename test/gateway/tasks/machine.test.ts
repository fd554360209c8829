/** The machine that a task asks for, held against what its launcher offers before the task is let in. */
import { expect, test } from 'vitest'
import { machineFor } from '../../../gateway/tasks/machine.ts'
import { machineCost } from '../../../gateway/tasks/machine-cost.ts'
import { RclaudeError } from '../../../protocol/errors.ts'
import { newLaunchId } from '../../../protocol/ids.ts'
import type { Machine, Offers } from '../../../protocol/machine.ts'
import { routes } from '../../../protocol/routes.ts'
import type { Task } from '../../../protocol/task.ts'
import { eventually } from '../../helpers/eventually.ts'
import { listLauncher } from '../../helpers/list-launcher.ts'
import { startStubGateway } from '../../helpers/stub-gateway.ts'

const GIB = 1024 ** 3
const offers: Offers = {
  images: { claude: 'with-claude:1', command: 'plain:1' },
  size: { cpu: 1, maxCpu: 4, memoryBytes: 2 * GIB, maxMemoryBytes: 8 * GIB },
  spot: true,
}
const launcher = listLauncher([], offers)

test('all that a launcher offers is named: what the task asks for, otherwise as it is configured', () => {
  expect(machineFor(launcher, { agent: 'claude' })).toEqual({
    image: 'with-claude:1',
    cpu: 1,
    memoryBytes: 2 * GIB,
    spot: true,
  })
  const asked = { image: 'mine:2', cpu: 4, memoryBytes: 8 * GIB, spot: false }
  expect(machineFor(launcher, { agent: 'command', machine: asked })).toEqual(asked)
  expect(machineFor(listLauncher(), { agent: 'claude' })).toEqual({})
})

test('an engine of its own has only a task that asks for one, where its launcher has them', () => {
  const withEngines = listLauncher([], { docker: true })
  const docker = (docker: boolean | undefined, from = withEngines) =>
    machineFor(from, { agent: 'claude', ...(docker !== undefined && { machine: { docker } }) }).docker
  expect([docker(true), docker(false), docker(undefined)]).toEqual([true, undefined, undefined])
  expect(docker(false, listLauncher())).toBeUndefined()
  const why = { ...listLauncher(), whyNoDocker: 'ask somebody' }
  expect(() => docker(true, why)).toThrow('launcher "list" takes no --docker: ask somebody; leave it out')
})

test.each<[string, Machine, Offers, RegExp]>([
  ['an image', { image: 'x' }, {}, /launcher "list" takes no --image: its tasks run in no container/],
  ['CPUs', { cpu: 1 }, {}, /launcher "list" takes no --cpu/],
  ['memory', { memoryBytes: GIB }, {}, /launcher "list" takes no --memory/],
  ['spot', { spot: true }, {}, /launcher "list" takes no --spot/],
  ['Docker', { docker: true }, offers, /launcher "list" takes no --docker: it has no Docker engines for tasks/],
  ['too many CPUs', { cpu: 5 }, offers, /5 CPUs .* at most 4 \(launchers\.list\.maxCpu\)/],
  ['too much memory', { memoryBytes: 9 * GIB }, offers, /9\.0 GiB .* at most 8\.0 GiB \(launchers\.list\.maxMemory\)/],
])('%s that cannot be had is refused in a sentence', (_, machine, has, message) => {
  expect(() => machineFor(listLauncher([], has), { agent: 'claude', machine })).toThrow(message)
})

test('a launcher may know finer rules', () => {
  const check = () => {
    throw new RclaudeError('invalid', '1 CPU goes with 2 to 8 GiB')
  }
  expect(() => machineFor({ ...launcher, check }, { agent: 'claude' })).toThrow(/2 to 8 GiB/)
})

const bodyOf = (machine: Machine, launcher?: string) => ({
  agent: 'command' as const,
  command: ['true'],
  workspace: { kind: 'snapshot' as const },
  machine,
  ...(launcher && { launcher }),
})

test('the gateway refuses it before there is a task or a file of it, and says what its launchers offer', async () => {
  const gateway = await startStubGateway({}, { launchers: [launcher] })
  const create = (machine: Machine, name?: string) =>
    gateway.api.call(routes.createTask, { body: bodyOf(machine, name) })
  await expect(create({ image: 'x' })).rejects.toMatchObject({
    code: 'invalid',
    message: expect.stringContaining('launcher "process" takes no --image'),
  })
  await expect(create({ cpu: 64 }, 'list')).rejects.toMatchObject({ code: 'invalid' })
  await expect(create({ image: '-v/:/host' }, 'list')).rejects.toMatchObject({ code: 'invalid' })
  expect((await gateway.api.call(routes.listTasks, { query: {} })).tasks).toEqual([])
  expect((await gateway.api.call(routes.info)).launchers).toEqual([
    { name: 'process', isolation: 'none', offers: {} },
    { name: 'list', isolation: 'container', offers },
  ])
})

test('the launcher is asked for this machine, and what it says on the way is in the log of the task', async () => {
  const specs: unknown[] = []
  const talking: typeof launcher = {
    ...launcher,
    async launch(spec, options) {
      specs.push(spec)
      options.progress('pulling the image, 40 %')
      options.warn('no Spot capacity, at its full price instead')
      return launcher.launch(spec, options)
    },
  }
  const gateway = await startStubGateway({}, { launchers: [talking] })
  const { id } = await gateway.api.call(routes.createTask, {
    body: { ...bodyOf({ cpu: 2, image: 'mine:2' }, 'list'), workspace: { kind: 'none' } },
  })
  await eventually('it is launched', async () => (await gateway.getTask(id)).state === 'starting')
  expect(specs).toMatchObject([
    { taskId: id, agent: 'command', machine: { cpu: 2, image: 'mine:2', memoryBytes: 2 * GIB, spot: true } },
  ])
  const said: string[] = []
  for await (const event of gateway.api.events(id)) {
    if (event.type === 'step' && event.status === 'started' && event.message) said.push(event.message)
    if (event.type === 'warning') said.push(event.message)
    if (event.type === 'state' && event.state === 'starting') break
  }
  expect(said).toEqual([
    'list: 2 CPUs, 2.0 GiB, spot, image mine:2',
    'pulling the image, 40 %',
    'no Spot capacity, at its full price instead',
  ])
})

test('the machine is counted from its launch until it is gone, beside the model, and stays with the ended task', async () => {
  const gateway = await startStubGateway({ launchers: { process: { usdPerHour: 360 } } })
  const { taskId } = await gateway.launch()
  const first = await gateway.getTask(taskId)
  const second = await eventually('it grows', async () => {
    const task = await gateway.getTask(taskId)
    return (task.machineCost?.usd ?? 0) > (first.machineCost?.usd ?? 0) ? task : undefined
  })
  const { usd = 0, seconds = 0 } = second.machineCost ?? {}
  expect(usd).toBeCloseTo(seconds / 10, 6)
  await gateway.api.call(routes.stopTask, { params: { taskId }, body: {} })
  const ended = await eventually('it has ended', async () => {
    const task = await gateway.getTask(taskId)
    return task.state === 'ended' ? task : undefined
  })
  expect(ended.machineCost?.usd).toBeGreaterThanOrEqual(usd)
  expect(ended.usage.costUsd).toBe(0)
  expect((await gateway.getTask(taskId)).machineCost).toEqual(ended.machineCost)
})

test('several machines of a task are summed, and one without a price adds nothing', () => {
  const startedAt = '2026-01-01T00:00:00.000Z'
  const placement = { launchId: newLaunchId(), launcher: 'x', handle: '1', startedAt, usdPerHour: 2 }
  const running = { state: 'running', placement, machineCost: { usd: 1, seconds: 100 } } as unknown as Task
  const at = Date.parse(startedAt) + 1_800_000
  expect(machineCost(running, at)).toEqual({ usd: 2, seconds: 1_900 })
  expect(machineCost(running, at, 900)).toEqual({ usd: 1.5, seconds: 1_000 })
  const { usdPerHour: _, ...unpriced } = placement
  expect(machineCost({ ...running, placement: unpriced } as Task, at)).toEqual({ usd: 1, seconds: 100 })
  expect(machineCost({ state: 'queued' } as Task, at)).toBeUndefined()
})

test('what a machine costs begins when it is paid for, and until nobody can say when, only what surely waits is free', () => {
  const startedAt = '2026-01-01T00:00:00.000Z'
  const at = Date.parse(startedAt) + 1_800_000
  const costIn = (state: 'starting' | 'running', paidFrom: string | null) =>
    machineCost({ state, placement: { startedAt, usdPerHour: 2, paidFrom } } as unknown as Task, at)
  expect(costIn('starting', null)).toEqual({ usd: 0, seconds: 0 })
  expect(costIn('running', null)).toEqual({ usd: 1, seconds: 1_800 })
  for (const state of ['starting', 'running'] as const)
    expect(costIn(state, '2026-01-01T00:15:00.000Z')).toEqual({ usd: 0.5, seconds: 900 })
})
