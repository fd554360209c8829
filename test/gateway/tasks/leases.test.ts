/** When a client counts as gone, by a clock of the test's own. */
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { openStore } from '../../../gateway/store/sqlite.ts'
import type { TaskContext } from '../../../gateway/tasks/context.ts'
import { Leases } from '../../../gateway/tasks/leases.ts'
import { NO_USAGE } from '../../../protocol/event.ts'
import { newTaskId, type TaskId } from '../../../protocol/ids.ts'
import { TaskSpec } from '../../../protocol/task.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

const GRACE = 30

function scene() {
  const store = openStore(join(temporaryDirectory(), 'gateway.db'))
  onTestFinished(() => store.close())
  let nowMs = Date.parse('2026-01-01T00:00:00Z')
  const complaints: unknown[] = []
  const context = { store, wake: () => {}, log: { error: (what: unknown) => complaints.push(what) } }
  const open = () => new Leases(context as unknown as TaskContext, () => nowMs)
  let leases = open()
  return {
    store,
    complaints,
    get leases() {
      return leases
    },
    add(stopAfterSeconds?: number): TaskId {
      const at = new Date(nowMs).toISOString()
      const onDisconnect = stopAfterSeconds === undefined ? {} : { onDisconnect: { stopAfterSeconds } }
      const spec = TaskSpec.parse({ prompt: 'do it', workspace: { kind: 'none' }, ...onDisconnect })
      const id = newTaskId()
      store.insertTask({
        task: {
          ...{ id, owner: 'alice', spec, createdAt: at, turns: [{ turn: 1, prompt: 'do it', createdAt: at }] },
          ...{ workspace: {}, usage: NO_USAGE, lastSeq: 0, state: 'queued', waitingFor: 'launch', since: at },
        },
        secrets: undefined,
        events: [],
      })
      return id
    },
    /** Time passes, and the gateway looks every second. */
    pass(seconds: number) {
      for (let n = 0; n < seconds; n++) {
        nowMs += 1_000
        leases.check()
      }
    },
    /** Time passes, and the gateway does not run. */
    sleep(seconds: number) {
      nowMs += seconds * 1_000
    },
    restart() {
      leases = open()
    },
    stop: (id: TaskId) => store.getTask(id)?.stopRequested,
  }
}

test('a task whose client is silent for the grace is stopped, and says why', () => {
  const it = scene()
  const id = it.add(GRACE)
  it.pass(GRACE - 1)
  expect(it.stop(id)).toBeUndefined()
  it.pass(1)
  expect(it.stop(id)).toMatchObject({ by: 'gateway', reason: 'its client was gone for 30s (onDisconnect)' })
})

test('a sign of life begins the grace anew, and a task without a lease needs none', () => {
  const it = scene()
  const held = it.add(GRACE)
  const free = it.add()
  for (let n = 0; n < 5; n++) {
    it.pass(GRACE - 1)
    it.leases.renew(held)
  }
  expect([it.stop(held), it.stop(free)]).toEqual([undefined, undefined])
  it.pass(GRACE)
  expect(it.stop(held)).toBeDefined()
  it.pass(10 * GRACE)
  expect(it.stop(free)).toBeUndefined()
})

test('time in which the gateway did not run, or was held up, is not on the account of the client', () => {
  const it = scene()
  const id = it.add(GRACE)
  it.pass(GRACE - 1)
  it.sleep(3_600)
  it.restart()
  it.pass(GRACE - 1)
  expect(it.stop(id)).toBeUndefined()
  it.sleep(3_600) // suspended: no check came
  it.pass(GRACE)
  expect(it.stop(id)).toBeUndefined()
  it.pass(1)
  expect(it.stop(id)).toBeDefined()
})

test('a task that was left on purpose goes on, also after a restart of the gateway', () => {
  const it = scene()
  const id = it.add(GRACE)
  it.leases.release(id)
  it.leases.renew(id)
  it.restart()
  it.pass(10 * GRACE)
  expect(it.stop(id)).toBeUndefined()
})

test('a later turn needs no client', () => {
  const it = scene()
  const id = it.add(GRACE)
  it.store.changeTask(id, ({ turns, createdAt }) => ({
    turns: [...turns, { turn: 2, prompt: 'more', createdAt }],
  }))
  it.pass(10 * GRACE)
  expect(it.stop(id)).toBeUndefined()
})

test('the lease of a task whose work is done is looked at no more', () => {
  const it = scene()
  const id = it.add(GRACE)
  it.pass(GRACE)
  expect(it.stop(id)).toBeDefined()
  it.pass(1)
  expect(it.store.leases()).toEqual([])
})

test('a store that cannot be written is told, and the next check tries again', () => {
  const it = scene()
  const id = it.add(GRACE)
  const { changeTask } = it.store
  it.store.changeTask = () => {
    throw new Error('full')
  }
  it.pass(GRACE)
  expect(it.complaints).toHaveLength(1)
  it.store.changeTask = changeTask
  it.pass(1)
  expect(it.stop(id)).toBeDefined()
})
