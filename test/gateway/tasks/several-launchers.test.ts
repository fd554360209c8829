/** Launchers side by side, and launchers across restarts of their gateway: a launch that was cut off, one that is no more. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { Launcher, LaunchSpec } from '../../../gateway/launchers/launcher.ts'
import { createLogger } from '../../../gateway/log.ts'
import { type Gateway, startGateway } from '../../../gateway/server.ts'
import { createClient } from '../../../protocol/client.ts'
import { GatewayConfig } from '../../../protocol/config.ts'
import type { TaskEvent } from '../../../protocol/event.ts'
import { routes } from '../../../protocol/routes.ts'
import type { Task } from '../../../protocol/task.ts'
import { eventually } from '../../helpers/eventually.ts'
import { launchOptions, launchSpec } from '../../helpers/launching.ts'
import { listLauncher } from '../../helpers/list-launcher.ts'
import { startStubGateway } from '../../helpers/stub-gateway.ts'

const body = (launcher: string) => ({
  agent: 'command' as const,
  command: ['true'],
  workspace: { kind: 'none' as const },
  launcher,
})

/** Gateways one after the other on the same data. */
function house() {
  const directory = mkdtempSync(join(tmpdir(), 'rclaude-several-'))
  let gateway: Gateway | undefined
  onTestFinished(async () => {
    await gateway?.stop()
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  })
  const api = () => {
    const token = readFileSync(join(directory, 'data/admin-token'), 'utf8').trim()
    return createClient({ baseUrl: gateway?.url ?? '', token, version: 'test' })
  }
  return {
    api,
    task: (taskId: string) => api().call(routes.getTask, { params: { taskId } }),
    data: () =>
      readdirSync(join(directory, 'data'))
        .filter((name) => name.startsWith('gateway.db'))
        .map((name) => readFileSync(join(directory, 'data', name), 'latin1'))
        .join(),
    /** Ends the one before. */
    async restart(launchers: readonly Launcher[]) {
      await gateway?.stop()
      gateway = await startGateway({
        config: GatewayConfig.parse({
          listen: { port: 0 },
          intervals: { reconcile: '50ms' },
          deadlines: { finish: '500ms' },
        }),
        dataDirectory: join(directory, 'data'),
        version: 'test',
        log: createLogger('debug', join(directory, 'log')),
        agentArgv: ['/bin/false'],
        env: process.env,
        launchers,
      })
      // A connection that was kept from before is noticed to be dead when it is used.
      await eventually('it answers', () =>
        api()
          .call(routes.info)
          .catch(() => undefined),
      )
    },
    state: (taskId: string, state: Task['state']) =>
      eventually(`it is ${state}`, async () => {
        const task = await api().call(routes.getTask, { params: { taskId } })
        return task.state === state ? task : undefined
      }),
  }
}

test('a launch that was cut off is asked for again as it began, with what the launcher had kept', async () => {
  const calls: Array<{ spec: LaunchSpec; kept: unknown }> = []
  /** Its first machine starts, but shows nowhere yet: as on infrastructure that tells of things with a delay. */
  const slow = (isAnswering: boolean): Launcher => {
    const list = listLauncher()
    return {
      ...list,
      launch(spec, options) {
        calls.push({ spec, kept: options.kept })
        if (isAnswering) return list.launch(spec, options)
        options.keep({ token: 'first' })
        options.keep({ token: 'second' })
        return new Promise(() => {})
      },
    }
  }
  const { api, restart, state, task, data } = house()
  await restart([slow(false)])
  const { id } = await api().call(routes.createTask, { body: body('list') })
  await eventually('it is asked', () => calls.length === 1)
  const joinCode = calls[0]?.spec.joinCode ?? ''
  expect(joinCode.length).toBeGreaterThan(20)
  expect(data()).toContain(calls[0]?.spec.launchId)
  expect(data()).not.toContain(joinCode)
  await restart([slow(true)])
  const started = await state(id, 'starting')
  expect(calls).toEqual([
    { spec: calls[0]?.spec, kept: undefined },
    { spec: calls[0]?.spec, kept: { token: 'second' } },
  ])
  expect(started).toMatchObject({ placement: { launchId: calls[0]?.spec.launchId } })
  await api().call(routes.stopTask, { params: { taskId: id }, body: {} })
  await state(id, 'ended')
  expect(await task(id)).toMatchObject({ outcome: 'cancelled' })
}, 60_000)

test('a machine whose launcher is no more is named when it cannot be removed', async () => {
  const { api, restart, state } = house()
  await restart([listLauncher()])
  const { id } = await api().call(routes.createTask, { body: body('list') })
  await state(id, 'starting')
  await restart([])
  await api().call(routes.stopTask, { params: { taskId: id }, body: {} })
  await state(id, 'ended')
  const events: TaskEvent[] = []
  for await (const event of api().events(id)) events.push(event)
  const warnings = events.flatMap((event) => (event.type === 'warning' ? [event.message] : []))
  expect(warnings).toEqual([
    'its machine may still be there (list one): the configuration no longer has the launcher "list", which alone can stop it',
  ])
}, 60_000)

test('a launcher that does not answer keeps nobody from hearing the others', async () => {
  const list = listLauncher()
  let isDeaf = true
  const deaf: Launcher = {
    ...list,
    inspect: (asked) => (isDeaf ? Promise.reject(new Error('the engine is not there')) : list.inspect(asked)),
  }
  const gateway = await startStubGateway({ intervals: { reconcile: '50ms' } }, { launchers: [deaf] })
  const first = await gateway.api.call(routes.createTask, { body: body('list') })
  await eventually('it is launched', async () => (await gateway.getTask(first.id)).state === 'starting')
  const { taskId } = await gateway.launch({ launcher: 'process' })
  const second = await gateway.getTask(taskId)
  if (second.state !== 'starting') throw new Error(`it is ${second.state}`)
  process.kill(Number(second.placement.handle), 'SIGKILL')
  const ended = await eventually('its death is seen', async () => {
    const task = await gateway.getTask(taskId)
    return task.state === 'ended' ? task : undefined
  })
  expect(ended).toMatchObject({ outcome: 'failed', reason: 'launch' })
  expect(gateway.log()).toContain('the launcher does not answer')
  expect((await gateway.getTask(first.id)).state).toBe('starting')
  isDeaf = false
})

test('a machine that no living task owns is stopped, whichever launcher has it', async () => {
  const list = listLauncher()
  const orphan = await list.launch(launchSpec(), launchOptions())
  expect(await list.list()).toHaveLength(1)
  const gateway = await startStubGateway({ intervals: { reconcile: '50ms' } }, { launchers: [list] })
  await eventually('it is swept', async () => (await list.list()).length === 0)
  expect(gateway.log()).toContain(orphan.launchId)
})

test('orphans that take their time to stop hold up nothing else, and each is told to once', async () => {
  const list = listLauncher()
  const stops: string[] = []
  let release = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const slow: Launcher = {
    ...list,
    async stop(placement, reason) {
      stops.push(placement.launchId)
      await released
      await list.stop(placement, reason)
    },
  }
  const orphans = [await list.launch(launchSpec(), launchOptions()), await list.launch(launchSpec(), launchOptions())]
  const gateway = await startStubGateway({ intervals: { reconcile: '50ms' } }, { launchers: [slow] })
  await eventually('both are told', () => stops.length === 2)
  const { taskId } = await gateway.launch({ launcher: 'process' })
  const task = await gateway.getTask(taskId)
  if (task.state !== 'starting') throw new Error(`it is ${task.state}`)
  process.kill(Number(task.placement.handle), 'SIGKILL')
  await eventually('the death of another is seen', async () => (await gateway.getTask(taskId)).state === 'ended')
  expect(stops.sort()).toEqual(orphans.map(({ launchId }) => launchId).sort())
  release()
  await eventually('they are gone', async () => (await list.list()).length === 0)
})

test('a task ends at its deadline though its launcher cannot say whether the machine is there', async () => {
  const list = listLauncher()
  let isDeaf = false
  const deaf: Launcher = {
    ...list,
    async inspect(asked) {
      if (isDeaf) throw new Error('nobody answers')
      return list.inspect(asked)
    },
  }
  const settings = { intervals: { reconcile: '50ms' }, deadlines: { finish: '1s' } }
  const gateway = await startStubGateway(settings, { launchers: [deaf] })
  const { id } = await gateway.api.call(routes.createTask, { body: body('list') })
  await eventually('it is launched', async () => (await gateway.getTask(id)).state === 'starting')
  isDeaf = true
  await gateway.api.call(routes.stopTask, { params: { taskId: id }, body: {} })
  await eventually('it has ended', async () => (await gateway.getTask(id)).state === 'ended')
  expect(await list.list()).toEqual([])
  expect(gateway.log()).toContain('cannot ask whether the machine is there')
})

test('what a machine waits for is told, once for each thing', async () => {
  const list = listLauncher()
  let detail = 'waiting for an instance'
  const waiting: Launcher = {
    ...list,
    inspect: async (asked) => new Map(asked.map(({ launchId }) => [launchId, { status: 'pending', detail }])),
  }
  const gateway = await startStubGateway({ intervals: { reconcile: '50ms' } }, { launchers: [waiting] })
  const { id } = await gateway.api.call(routes.createTask, { body: body('list') })
  const said: string[] = []
  for await (const event of gateway.api.events(id, { follow: true })) {
    if (event.type !== 'step' || event.step !== 'start' || event.message === undefined) continue
    said.push(event.message)
    if (said.length === 2) break
    detail = 'pulling its image'
  }
  expect(said).toEqual(['waiting for an instance', 'pulling its image'])
})
