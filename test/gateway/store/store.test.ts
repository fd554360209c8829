import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { copyFileSync, existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { build } from 'esbuild'
import { expect, test } from 'vitest'
import { Database } from '../../../gateway/database.ts'
import { saveBefore } from '../../../gateway/store/before-migration.ts'
import { migrate, SCHEMA_VERSION } from '../../../gateway/store/migrations.ts'
import { openStore } from '../../../gateway/store/sqlite.ts'
import type { Store } from '../../../gateway/store/store.ts'
import { type AgentEvent, NO_USAGE } from '../../../protocol/event.ts'
import { newLaunchId, newTaskId, type TaskId } from '../../../protocol/ids.ts'
import { TaskSpec } from '../../../protocol/task.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

const openTemporary = () => openStore(join(temporaryDirectory(), 'gateway.db'))

function addTask(
  store: Store,
  options: { owner?: string; labels?: Record<string, string>; key?: string; prompt?: string } = {},
): TaskId {
  const id = newTaskId()
  const now = new Date().toISOString()
  const prompt = options.prompt ?? 'do it'
  store.insertTask({
    task: {
      id,
      owner: options.owner ?? 'alice',
      spec: TaskSpec.parse({ prompt, workspace: { kind: 'none' }, labels: options.labels }),
      createdAt: now,
      turns: [{ turn: 1, prompt, createdAt: now }],
      workspace: {},
      usage: NO_USAGE,
      lastSeq: 0,
      state: 'queued',
      waitingFor: 'launch',
      since: now,
    },
    secrets: undefined,
    idempotency: options.key === undefined ? undefined : { key: options.key, requestHash: 'h' },
    events: [{ type: 'state', state: 'queued' }],
  })
  return id
}

function addLaunch(store: Store, taskId: TaskId) {
  const launchId = newLaunchId()
  store.insertLaunch({ launchId, taskId, launcher: 'process', joinHash: 'j', createdAt: new Date().toISOString() })
  return launchId
}

const said = (agentSeq: number, text: string): AgentEvent => ({
  agentSeq,
  at: '2026-01-01T00:00:00.000Z',
  turn: 1,
  type: 'warning',
  message: text,
})

test('a task comes back as it was stored, after a restart too', () => {
  const file = join(temporaryDirectory(), 'gateway.db')
  const store = openStore(file)
  const id = addTask(store)
  const before = store.getTask(id)
  store.close()
  const again = openStore(file)
  expect(again.getTask(id)).toEqual(before)
  expect(again.gatewayId).toBe(store.gatewayId)
  again.close()
})

test('a change that was decided on an old state is not made', () => {
  const store = openTemporary()
  const id = addTask(store)
  const now = new Date().toISOString()
  const launch = (launchId = newLaunchId()) =>
    store.changeTask(id, (task) =>
      task.state === 'queued' ? { state: { state: 'launching', launchId, since: now } } : undefined,
    )
  expect(launch()?.state).toBe('launching')
  expect(launch()).toBeUndefined()
  expect(store.getTask(id)?.state).toBe('launching')
})

test('a decision that throws changes nothing', () => {
  const store = openTemporary()
  const id = addTask(store)
  const before = store.getTask(id)
  expect(() =>
    store.changeTask(id, () => {
      throw new Error('no')
    }),
  ).toThrow('no')
  expect(store.getTask(id)).toEqual(before)
})

test('events are numbered without holes and published after they are stored', () => {
  const store = openTemporary()
  const id = addTask(store)
  const seen: number[] = []
  store.onEvents(() => seen.push(store.getTask(id)?.lastSeq ?? 0))
  store.changeTask(id, () => ({
    events: [
      { type: 'warning', message: 'a' },
      { type: 'warning', message: 'b' },
    ],
  }))
  expect(store.events(id, 0, 10).map((event) => event.seq)).toEqual([1, 2, 3])
  expect(store.events(id, 2, 10)).toHaveLength(1)
  expect(seen).toEqual([3])
})

test('what an agent says twice is stored once', () => {
  const store = openTemporary()
  const id = addTask(store)
  const launchId = addLaunch(store, id)
  store.recordEvents(launchId, [said(1, 'one'), said(2, 'two')], () => undefined)
  store.recordEvents(launchId, [said(1, 'one'), said(2, 'two'), said(3, 'three')], () => undefined)
  const messages = store.events(id, 0, 100).flatMap((event) => (event.type === 'warning' ? [event.message] : []))
  expect(messages).toEqual(['one', 'two', 'three'])
  expect(store.lastAgentSeq(launchId)).toBe(3)
})

test('the same numbers of another placement are other events', () => {
  const store = openTemporary()
  const id = addTask(store)
  store.recordEvents(addLaunch(store, id), [said(1, 'first placement')], () => undefined)
  store.recordEvents(addLaunch(store, id), [said(1, 'second placement')], () => undefined)
  expect(store.events(id, 0, 100).filter((event) => event.type === 'warning')).toHaveLength(2)
})

test('a join code is exchanged once, and the same exchange may be repeated', () => {
  const store = openTemporary()
  const launchId = addLaunch(store, addTask(store))
  expect(store.bindCredential(launchId, 'mine')).toBe(true)
  expect(store.bindCredential(launchId, 'mine')).toBe(true)
  expect(store.bindCredential(launchId, 'stolen')).toBe(false)
})

test('lists page without loss or repetition, by owner, state and label', () => {
  const store = openTemporary()
  const ids = Array.from({ length: 7 }, (_, n) => addTask(store, { labels: { n: String(n), all: 'yes' } }))
  addTask(store, { owner: 'bob' })
  const seen: TaskId[] = []
  let cursor: string | undefined
  do {
    const page = store.listTasks({ owner: 'alice', limit: 3, cursor })
    seen.push(...page.tasks.map((task) => task.id))
    cursor = page.nextCursor
  } while (cursor !== undefined)
  expect(seen).toEqual([...ids].reverse())
  expect(store.listTasks({ limit: 50, label: { name: 'n', value: '4' } }).tasks.map((task) => task.id)).toEqual([
    ids[4],
  ])
  expect(store.listTasks({ limit: 50, label: { name: 'all' } }).tasks).toHaveLength(7)
  expect(store.listTasks({ limit: 50, state: 'ended' }).tasks).toHaveLength(0)
  expect(store.listTasks({ limit: 50, state: 'active' }).tasks).toHaveLength(8)
})

test('an idempotency key belongs to its owner', () => {
  const store = openTemporary()
  const id = addTask(store, { key: 'k' })
  expect(store.findIdempotent('alice', 'k')?.taskId).toBe(id)
  expect(store.findIdempotent('bob', 'k')).toBeUndefined()
})

test('deleting a task takes its events, launches and secrets with it and leaves the audit row', () => {
  const store = openTemporary()
  const id = addTask(store)
  const launchId = addLaunch(store, id)
  store.putSecrets(id, Buffer.from('sealed'))
  store.insertAudit({
    at: new Date().toISOString(),
    user: 'alice',
    tokenId: 't',
    address: 'a',
    action: 'task.create',
    taskId: id,
    requestId: 'r',
  })
  store.deleteTask(id)
  expect(store.getTask(id)).toBeUndefined()
  expect(store.events(id, 0, 10)).toEqual([])
  expect(store.getLaunch(launchId)).toBeUndefined()
  expect(store.sealedSecrets(id)).toBeUndefined()
  expect(store.listAudit({ taskId: id, limit: 10 })).toHaveLength(1)
})

test('a database of a newer gateway is refused and left alone', () => {
  const file = join(temporaryDirectory(), 'gateway.db')
  openStore(file).close()
  const database = new Database(file)
  database.exec('PRAGMA user_version = 999')
  database.close()
  expect(() => openStore(file)).toThrow(/newer gateway/)
})

test('a new turn keeps the prompts of the ones before, whatever is in them', () => {
  const store = openTemporary()
  const id = addTask(store)
  const second = { turn: 2, prompt: 'and "then"\n\ud800', createdAt: new Date().toISOString() }
  store.changeTask(id, ({ turns }) => ({ turns: [...turns, second] }))
  const startedAt = new Date().toISOString()
  store.changeTask(id, ({ turns }) => ({ turns: turns.map((turn) => ({ ...turn, startedAt })) }))
  const task = store.getTask(id)
  expect(task?.turns).toEqual([
    { turn: 1, prompt: 'do it', createdAt: task?.createdAt, startedAt },
    { ...second, startedAt },
  ])
  expect(store.listTasks({ limit: 1 }).tasks).toEqual([task])
})

test('storing an event does not write the prompt again', () => {
  const file = join(temporaryDirectory(), 'gateway.db')
  const store = openStore(file)
  const id = addTask(store, { prompt: 'x'.repeat(1_000_000) })
  const launchId = addLaunch(store, id)
  const before = statSync(`${file}-wal`).size
  for (let seq = 1; seq <= 10; seq++) {
    const workspace = { checkpoint: 'c'.repeat(seq) } // SQLite writes only from where a row differs: here in its length
    store.recordEvents(launchId, [said(seq, 'hello')], () => ({ workspace }))
  }
  expect(statSync(`${file}-wal`).size - before).toBeLessThan(1_000_000)
  store.close()
})

test('tasks of a database of the first version are found as they were', () => {
  const file = join(temporaryDirectory(), 'gateway.db')
  const database = new Database(file)
  migrate(database, 1)
  const id = newTaskId()
  const at = '2026-01-01T00:00:00.000Z'
  const spec = TaskSpec.parse({ prompt: 'first', workspace: { kind: 'none' }, labels: { kind: 'old' } })
  const turns = [
    { turn: 1, prompt: 'first', createdAt: at, endedAt: at },
    { turn: 2, prompt: 'the "second"\n\ud800 ünï', createdAt: at },
  ]
  database
    .prepare(
      `INSERT INTO tasks (id, owner, state, version, facts, spec, turns, workspace, usage, created_at, last_seq)
       VALUES (?, 'alice', 'queued', 3, ?, ?, ?, '{}', ?, ?, 1)`,
    )
    .run(
      id,
      JSON.stringify({ waitingFor: 'launch', since: at }),
      JSON.stringify(spec),
      JSON.stringify(turns),
      JSON.stringify({ ...NO_USAGE, costUsd: 0.1 }),
      at,
    )
  database
    .prepare(`INSERT INTO events VALUES (?, 1, ?, 1, NULL, NULL, '{"type":"state","state":"queued"}')`)
    .run(id, at)
  database.close()
  const store = openStore(file)
  expect(store.getTask(id)).toMatchObject({ id, spec, turns, state: 'queued', usage: { costUsd: 0.1 }, lastSeq: 1 })
  expect(store.events(id, 0, 10)).toHaveLength(1)
  expect(store.listTasks({ limit: 5, label: { name: 'kind', value: 'old' } }).tasks).toHaveLength(1)
  store.deleteTask(id)
  store.close()
  const left = new Database(file)
  expect(left.prepareValue('SELECT count(*) FROM task_texts').get()).toBe(0)
  left.close()
})

test('tasks of a database of the second version have their end, their agent and their budget, damaged ones aside', () => {
  const file = join(temporaryDirectory(), 'gateway.db')
  const database = new Database(file)
  migrate(database, 2)
  const at = '2026-01-01T00:00:00.000Z'
  const add = (state: string, facts: string, spec: string) => {
    const id = newTaskId()
    database
      .prepare(
        `INSERT INTO tasks (id, owner, state, version, facts, turns, workspace, usage, created_at)
         VALUES (?, 'alice', ?, 1, ?, '[]', '{}', '{}', ?)`,
      )
      .run(id, state, facts, at)
    database.prepare(`INSERT INTO task_texts VALUES (?, ?, '[]')`).run(id, spec)
    return id
  }
  const spec = JSON.stringify({ agent: 'command', limits: { budgetUsd: 2 } })
  const ended = add('ended', JSON.stringify({ endedAt: at, outcome: 'failed' }), spec)
  const queued = add('queued', JSON.stringify({ waitingFor: 'launch' }), spec)
  add('ended', '{broken', spec)
  add('queued', '{broken', spec)
  add('running', '{}', '{broken')
  database.close()
  const store = openStore(file)
  expect(store.endedTasks({ limit: 9 })).toMatchObject([{ id: ended, endedAt: at, outcome: 'failed', isPruned: false }])
  expect(store.waitingTasks()).toMatchObject([{ id: queued, agent: 'command', budgetUsd: 2, tokenId: undefined }])
  expect(store.takenTasks()).toEqual([{ owner: 'alice', tokenId: undefined, reservedUsd: 0 }])
  store.close()
})

test('agents that an earlier gateway let in by their join code stay let in', () => {
  const file = join(temporaryDirectory(), 'gateway.db')
  const database = new Database(file)
  migrate(database, 6)
  const add = (taskId: string, launchId: string, credentialHash: string | null) =>
    database
      .prepare(
        `INSERT INTO launches (launch_id, task_id, launcher, join_hash, credential_hash, created_at)
         VALUES (?, ?, 'ecs', 'x', ?, '2026-01-01T00:00:00.000Z')`,
      )
      .run(launchId, taskId, credentialHash)
  database.exec('PRAGMA foreign_keys = OFF')
  const [inside, outside] = [newLaunchId(), newLaunchId()]
  add(newTaskId(), inside, 'hash')
  add(newTaskId(), outside, null)
  database.close()
  const store = openStore(file)
  expect(store.getLaunch(inside)?.vouchedAt).toBe('2026-01-01T00:00:00.000Z')
  expect(store.getLaunch(outside)?.vouchedAt).toBeUndefined()
  store.setVouched(outside)
  expect(store.getLaunch(outside)?.vouchedAt).toBeDefined()
  store.close()
})

test('a row that cannot be read is told and hides no other task', () => {
  const file = join(temporaryDirectory(), 'gateway.db')
  const store = openStore(file)
  const damaged = addTask(store)
  const sound = addTask(store)
  store.close()
  const database = new Database(file)
  database.prepare(`UPDATE tasks SET facts = '{}' WHERE id = ?`).run(damaged)
  database.close()
  const told: string[] = []
  const again = openStore(file, (taskId) => told.push(taskId))
  expect(again.waitingTasks().map((task) => task.id)).toEqual([sound])
  expect(again.listTasks({ limit: 10 }).tasks.map((task) => task.id)).toEqual([sound])
  expect(told).toEqual([damaged])
  again.close()
})

test('of secrets that were deleted nothing is left in the database or its log', () => {
  const file = join(temporaryDirectory(), 'gateway.db')
  const store = openStore(file)
  const id = addTask(store)
  const sealed = randomBytes(20_000) // more than a page
  const holds = () =>
    [file, `${file}-wal`].some((name) => existsSync(name) && readFileSync(name).includes(sealed.subarray(9_000, 9_100)))
  store.putSecrets(id, sealed)
  expect(holds()).toBe(true)
  store.dropSecrets(id)
  expect(holds()).toBe(false)
  store.close()
  expect(holds()).toBe(false)
})

test('what a killed gateway had deleted is gone from the log when the next one starts', () => {
  const file = join(temporaryDirectory(), 'gateway.db')
  const store = openStore(file)
  const id = addTask(store)
  const sealed = randomBytes(20_000)
  store.putSecrets(id, sealed)
  store.deleteTask(id)
  // As the disk is when the process is killed: with the log beside the database.
  const copy = join(temporaryDirectory(), 'gateway.db')
  for (const suffix of ['', '-wal']) copyFileSync(`${file}${suffix}`, `${copy}${suffix}`)
  const holds = () => [copy, `${copy}-wal`].some((name) => readFileSync(name).includes(sealed.subarray(9_000, 9_100)))
  expect(holds()).toBe(true)
  const next = openStore(copy)
  expect(holds()).toBe(false)
  for (const one of [next, store]) one.close()
})

test('a database is saved before it is migrated, and a gateway that is too old for it names that copy', () => {
  const file = join(temporaryDirectory(), 'gateway.db')
  const old = new Database(file)
  migrate(old, 1)
  old.prepare("INSERT INTO meta VALUES ('gateway_id', 'gw_abcdefghjkmn')").run()
  old.close()
  const saved: string[] = []
  openStore(file, undefined, { onBackup: (name) => saved.push(name) }).close()
  expect(saved).toEqual([`${file}.before-${SCHEMA_VERSION}`])
  const copy = new Database(saved[0] as string, { readonly: true })
  expect(copy.prepareValue('PRAGMA user_version').get()).toBe(1)
  expect(copy.prepareValue('SELECT value FROM meta').get()).toBe('gw_abcdefghjkmn')
  copy.close()
  openStore(file, undefined, { onBackup: (name) => saved.push(name) }).close()
  expect(saved).toHaveLength(1)

  const newer = new Database(file)
  newer.exec(`PRAGMA user_version = ${SCHEMA_VERSION + 1}`)
  newer.close()
  expect(() => openStore(file)).toThrow(
    new RegExp(
      `schema ${SCHEMA_VERSION + 1}, gateway .* knows ${SCHEMA_VERSION}.*before-${SCHEMA_VERSION} \\(schema 1\\)`,
    ),
  )
})

test('only the two newest copies are kept', () => {
  const file = join(temporaryDirectory(), 'gateway.db')
  const database = new Database(file)
  migrate(database, 1)
  for (const before of [3, 4, 5]) saveBefore(database, before - 1, before)
  database.close()
  expect(readdirSync(dirname(file)).sort()).toEqual(['gateway.db', 'gateway.db.before-4', 'gateway.db.before-5'])
})

test.each(['saved', 'migrating'])(
  'a gateway that is killed (%s) leaves a database that the next one can use',
  async (at) => {
    const file = join(temporaryDirectory(), 'gateway.db')
    const old = new Database(file)
    migrate(old, 1)
    old.prepare("INSERT INTO meta VALUES ('gateway_id', 'gw_abcdefghjkmn')").run()
    old.close()
    const program = resolve('node_modules/.cache/rclaude-test/migration-killed-at.mjs')
    await build({
      entryPoints: ['test/helpers/migration-killed-at.ts'],
      outfile: program,
      bundle: true,
      platform: 'node',
      format: 'esm',
      external: ['better-sqlite3'],
      logLevel: 'warning',
    })
    const killed = spawnSync(process.execPath, [program, file, at], { encoding: 'utf8' })
    expect(killed).toMatchObject({ signal: 'SIGKILL', stderr: '' })
    const between = new Database(file)
    expect(between.prepareValue('PRAGMA user_version').get()).toBe(1)
    between.close()
    const store = openStore(file)
    expect(store.gatewayId).toBe('gw_abcdefghjkmn')
    store.close()
  },
)
