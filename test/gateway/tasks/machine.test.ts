/** The machine that a task asks for, held against what its launcher offers before the task is let in. */
import { expect, test } from 'vitest'
import { machineFor } from '../../../gateway/tasks/machine.ts'
import { RclaudeError } from '../../../protocol/errors.ts'
import type { Machine, Offers } from '../../../protocol/machine.ts'
import { routes } from '../../../protocol/routes.ts'
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

test.each<[string, Machine, Offers, RegExp]>([
  ['an image', { image: 'x' }, {}, /launcher "list" takes no --image: its tasks run in no container/],
  ['CPUs', { cpu: 1 }, {}, /launcher "list" takes no --cpu/],
  ['memory', { memoryBytes: GIB }, {}, /launcher "list" takes no --memory/],
  ['spot', { spot: true }, {}, /launcher "list" takes no --spot/],
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
