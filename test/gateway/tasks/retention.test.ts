/** What is deleted by itself, what never is, and what is said of it afterwards: on a real gateway. */
import { existsSync, mkdirSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Database } from '../../../gateway/database.ts'
import { createLogger } from '../../../gateway/log.ts'
import { openStore } from '../../../gateway/store/sqlite.ts'
import { type PruneContext, remove, sweep } from '../../../gateway/tasks/prune.ts'
import { Artifacts } from '../../../gateway/workspaces/artifacts.ts'
import { Workspaces } from '../../../gateway/workspaces/workspaces.ts'
import { createClient } from '../../../protocol/client.ts'
import { GatewayConfig, type GatewayConfigInput } from '../../../protocol/config.ts'
import { NO_USAGE } from '../../../protocol/event.ts'
import { newTaskId, type TaskId } from '../../../protocol/ids.ts'
import { routes } from '../../../protocol/routes.ts'
import { TaskSpec, type WorkspaceSource } from '../../../protocol/task.ts'
import { eventually } from '../../helpers/eventually.ts'
import { listLauncher } from '../../helpers/list-launcher.ts'
import { type StubGateway, startStubGateway } from '../../helpers/stub-gateway.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

const MIB = 1024 ** 2

const gatewayWith = (retention: GatewayConfigInput['retention']) =>
  startStubGateway(
    { intervals: { reconcile: '50ms', prune: '1s' }, limits: { minFreeDisk: 0 }, retention },
    { launchers: [listLauncher()] },
  )

async function start(gateway: StubGateway, workspace: WorkspaceSource = { kind: 'none' }): Promise<TaskId> {
  const { id } = await gateway.api.call(routes.createTask, {
    body: { agent: 'command', command: ['true'], launcher: 'list', workspace },
  })
  await eventually('it is launched', async () => (await gateway.getTask(id)).state === 'starting')
  return id
}

async function stopped(gateway: StubGateway, taskId: TaskId): Promise<TaskId> {
  await gateway.api.call(routes.stopTask, { params: { taskId }, body: {} })
  await eventually('it has ended, or is gone', async () =>
    gateway.getTask(taskId).then(
      ({ state }) => state === 'ended',
      () => true,
    ),
  )
  return taskId
}

/** As if the task had made an artifact of this size. */
function leaveArtifact(gateway: StubGateway, taskId: TaskId, bytes: number): string {
  const folder = join(gateway.data, 'artifacts', taskId)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'big'), Buffer.alloc(bytes, 1))
  return folder
}

const clone: WorkspaceSource = { kind: 'repo', url: 'https://example.org/never.git' }
const problemOf = (work: Promise<unknown>) => work.then(() => undefined).catch((error: unknown) => error)

test('without retention nothing is ever deleted', async () => {
  expect(GatewayConfig.parse({}).retention).toEqual({ tasks: 0, workspaces: 0, maxDisk: 0 })
})

test('an ended task goes after retention.tasks with all it left, and whoever could see it is told so', async () => {
  const gateway = await gatewayWith({ tasks: '1s' })
  const running = await start(gateway)
  const id = await start(gateway, clone)
  const folder = leaveArtifact(gateway, id, MIB)
  const repository = join(gateway.data, 'workspaces', `${id}.git`)
  expect(existsSync(repository)).toBe(true)
  await stopped(gateway, id)
  const problem = await eventually('it is gone', async () => {
    const error = (await problemOf(gateway.getTask(id))) as { code?: string } | undefined
    return error?.code === 'gone' && error
  })
  expect(problem).toMatchObject({
    status: 410,
    message: expect.stringMatching(/was deleted at .* \(retention\.tasks: 1\.0s\)/),
  })
  expect([existsSync(folder), existsSync(repository)]).toEqual([false, false])
  expect((await gateway.getTask(running)).state).toBe('starting')
  await eventually('it is in the log', () => /"freed":"1\.\d MiB".*pruned ended tasks/.test(gateway.log()))

  const { secret } = await gateway.api.call(routes.createToken, {
    body: { name: 'm', user: 'mallory', role: 'member' },
  })
  const mallory = createClient({ baseUrl: gateway.url, token: secret, version: 'test' })
  expect(await problemOf(mallory.call(routes.getTask, { params: { taskId: id } }))).toMatchObject({ code: 'not_found' })
})

test('after retention.workspaces the log stays, and everything that needs files says why there are none', async () => {
  const gateway = await gatewayWith({ workspaces: '1s' })
  const id = await stopped(gateway, await start(gateway, clone))
  const task = await eventually('its files are gone', async () => {
    const now = await gateway.getTask(id)
    return now.pruned !== undefined && now
  })
  expect(task.pruned?.by).toBe('retention.workspaces: 1.0s')
  const params = { taskId: id }
  for (const [what, work] of [
    ['patch', gateway.api.raw(routes.patch, { params })],
    ['artifacts', gateway.api.call(routes.listArtifacts, { params })],
    ['git', gateway.api.raw(routes.gitRefs, { params, query: { service: 'git-upload-pack' } })],
  ] as const)
    expect([what, await problemOf(work)]).toEqual([
      what,
      expect.objectContaining({ code: 'gone', message: expect.stringContaining('(retention.workspaces: 1.0s)') }),
    ])
  const said: string[] = []
  for await (const event of gateway.api.events(id)) said.push(event.type)
  expect(said).toContain('state')
  const again = await gateway.api.call(routes.retryTask, { params, body: {} }) // it is cloned anew
  expect(again.retryOf).toBe(id)
})

test('beyond retention.maxDisk those that ended first go, and never one that has not ended', async () => {
  const gateway = await gatewayWith({ maxDisk: '2500KiB' })
  const running = await start(gateway)
  leaveArtifact(gateway, running, MIB)
  const [a, b, c] = [await start(gateway), await start(gateway), await start(gateway)]
  for (const id of [a, b, c]) leaveArtifact(gateway, id, MIB)
  await stopped(gateway, b)
  await stopped(gateway, a)
  await stopped(gateway, c)
  const left = () => gateway.api.call(routes.listTasks).then(({ tasks }) => tasks.map(({ id }) => id))
  await eventually('two are gone', async () => (await left()).length === 2)
  expect(await left()).toEqual([c, running])
  expect(await problemOf(gateway.getTask(b))).toMatchObject({
    message: expect.stringContaining('retention.maxDisk: 2.4 MiB'),
  })
  await new Promise((resolve) => setTimeout(resolve, 1_500)) // another round deletes no more
  expect(await left()).toEqual([c, running])
})

/** A store and files of their own, without a gateway around them. */
function parts() {
  const directory = temporaryDirectory()
  const context: PruneContext = {
    store: openStore(join(directory, 'gateway.db')),
    workspaces: new Workspaces({ directory }),
    artifacts: new Artifacts(join(directory, 'artifacts'), { artifactBytes: MIB, totalBytes: MIB, count: 9 }),
    log: createLogger('silent', join(directory, 'log')),
    config: GatewayConfig.parse({}),
  }
  return { context, directory }
}

function addEnded({ store }: PruneContext): TaskId {
  const [id, now] = [newTaskId(), new Date().toISOString()]
  store.insertTask({
    task: {
      id,
      owner: 'alice',
      spec: TaskSpec.parse({ prompt: 'x', workspace: clone }),
      createdAt: now,
      turns: [{ turn: 1, prompt: 'x', createdAt: now }],
      workspace: {},
      usage: NO_USAGE,
      lastSeq: 0,
      state: 'queued',
      waitingFor: 'launch',
      since: now,
    },
    secrets: undefined,
    events: [],
  })
  store.changeTask(id, () => ({
    state: { state: 'ended', outcome: 'failed', reason: 'launch', message: '', endedAt: now, incomplete: false },
  }))
  return id
}

test('a task that was continued between the look and the deletion keeps everything', async () => {
  const { context } = parts()
  const id = addEnded(context)
  await context.workspaces.create(id, { objectFormat: 'sha1', owner: 'alice' })
  const [seen] = context.store.endedTasks({ limit: 1 })
  if (seen === undefined) throw new Error('no task')
  context.store.changeTask(id, () => ({
    state: { state: 'queued', waitingFor: 'launch', since: new Date().toISOString() },
  }))
  expect(await remove(context, seen, { workspacesOnly: false, by: 'test' })).toBe(false)
  expect(existsSync(context.workspaces.repositoryPath(id))).toBe(true)
  expect(context.store.getTask(id)).toMatchObject({ state: 'queued' })
  expect(context.store.getTask(id)?.pruned).toBeUndefined()
  expect(context.store.endedTasks({ limit: 10 })).toEqual([])
})

test('a damaged row does not keep its task for ever', async () => {
  const { context, directory } = parts()
  const id = addEnded(context)
  const database = new Database(join(directory, 'gateway.db'))
  database.prepare(`UPDATE tasks SET facts = '{broken' WHERE id = ?`).run(id)
  database.close()
  const [seen] = context.store.endedTasks({ limit: 1 })
  if (seen === undefined) throw new Error('no task')
  expect(seen).toMatchObject({ id, outcome: 'unknown' })
  expect(await remove(context, seen, { workspacesOnly: true, by: 'test' })).toBe(false)
  expect(await remove(context, seen, { workspacesOnly: false, by: 'test' })).toBe(true)
  expect(context.store.tombstone(id)).toMatchObject({ owner: 'alice', by: 'test' })
  expect(context.store.endedTasks({ limit: 1 })).toEqual([])
})

test('that a task was deleted is forgotten in the end', async () => {
  const { context } = parts()
  const id = addEnded(context)
  const [seen] = context.store.endedTasks({ limit: 1 })
  if (seen === undefined) throw new Error('no task')
  await remove(context, seen, { workspacesOnly: false, by: 'test' })
  context.store.dropTombstones('2020-01-01T00:00:00.000Z')
  expect(context.store.tombstone(id)).toBeDefined()
  context.store.dropTombstones(new Date(Date.now() + 1_000).toISOString())
  expect(context.store.tombstone(id)).toBeUndefined()
})

test('files that a killed gateway left behind are swept; those of living and of new tasks are not', async () => {
  const { context } = parts()
  const [kept, marked, orphan, young] = [addEnded(context), addEnded(context), newTaskId(), newTaskId()]
  context.store.changeTask(marked, () => ({ pruned: { at: new Date().toISOString(), by: 'test' } }))
  for (const id of [kept, marked, orphan, young]) {
    await context.workspaces.create(id, { objectFormat: 'sha1', owner: 'alice' })
    if (id !== young) utimesSync(context.workspaces.repositoryPath(id), 1, 1)
  }
  expect(await sweep(context)).toBe(2)
  const isThere = (id: TaskId) => existsSync(context.workspaces.repositoryPath(id))
  expect([kept, marked, orphan, young].map(isThere)).toEqual([true, false, false, true])
})

test('ended tasks come in the order in which they ended, page by page', () => {
  const { context } = parts()
  const ids = Array.from({ length: 7 }, () => addEnded(context))
  const seen: TaskId[] = []
  let cursor: string | undefined
  do {
    const page = context.store.endedTasks({ limit: 2, cursor })
    seen.push(...page.map(({ id }) => id))
    cursor = page.at(-1)?.cursor
  } while (cursor !== undefined)
  expect(seen).toEqual(ids)
})
