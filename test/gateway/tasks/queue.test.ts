/** Who is launched next, what a task waits for, and how many may wait: on a real gateway whose machines are a list. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Waiting } from '../../../gateway/store/store.ts'
import { inOrder } from '../../../gateway/tasks/queue.ts'
import { Served } from '../../../gateway/tasks/served.ts'
import { createClient } from '../../../protocol/client.ts'
import type { GatewayConfigInput } from '../../../protocol/config.ts'
import { newTaskId } from '../../../protocol/ids.ts'
import type { TokenLimits } from '../../../protocol/limits.ts'
import { routes } from '../../../protocol/routes.ts'
import { eventually } from '../../helpers/eventually.ts'
import { listLauncher } from '../../helpers/list-launcher.ts'
import { type StubGateway, startStubGateway } from '../../helpers/stub-gateway.ts'

const waits = (owner: string): Waiting => ({
  id: newTaskId(),
  owner,
  tokenId: undefined,
  agent: 'command',
  budgetUsd: undefined,
  notBefore: undefined,
})

const nobodyRuns = { running: () => 0 }

test('a user with one task does not wait behind another with a hundred', () => {
  const served = new Served()
  served.note('bob')
  served.note('alice')
  const queue = [...Array.from({ length: 100 }, () => waits('alice')), waits('bob'), waits('bob')]
  const order = inOrder(queue, nobodyRuns, served).map(({ owner }) => owner)
  expect(order.slice(0, 5)).toEqual(['bob', 'alice', 'bob', 'alice', 'alice'])
})

test('who runs fewer tasks comes first, however long others have waited', () => {
  const running = (owner: string) => (owner === 'alice' ? 2 : 0)
  const order = inOrder([waits('alice'), waits('bob'), waits('bob'), waits('bob')], { running }, new Served())
  expect(order.map(({ owner }) => owner)).toEqual(['bob', 'bob', 'alice', 'bob'])
})

test('with room for one at a time, nobody is served twice while another waits: whoever they are', () => {
  const owner = fc.constantFrom('alice', 'bob', 'carol')
  fc.assert(
    fc.property(fc.array(owner, { minLength: 1, maxLength: 40 }), (owners) => {
      const served = new Served()
      let queue = owners.map(waits)
      const launched: string[] = []
      while (queue.length > 0) {
        const next = inOrder(queue, nobodyRuns, served)[0]
        if (next === undefined) break
        served.note(next.owner)
        launched.push(next.owner)
        const others = new Set(queue.map((task) => task.owner).filter((one) => one !== next.owner))
        queue = queue.filter((task) => task !== next)
        if (launched.at(-2) === next.owner) expect(others.size).toBe(0)
      }
      expect(launched).toHaveLength(owners.length)
    }),
  )
})

test('tasks of one user keep the order in which they came', () => {
  const mine = Array.from({ length: 5 }, () => waits('alice'))
  const order = inOrder(
    [mine[0], waits('bob'), ...mine.slice(1)].filter((one) => one !== undefined),
    nobodyRuns,
    new Served(),
  )
  expect(order.filter(({ owner }) => owner === 'alice')).toEqual(mine)
})

async function gatewayOf(limits: GatewayConfigInput['limits']) {
  const launcher = listLauncher()
  const gateway = await startStubGateway({ intervals: { reconcile: '50ms' }, limits }, { launchers: [launcher] })
  return { gateway, launcher }
}

/** A client of its own for a user. */
async function userOf(gateway: StubGateway, user: string, limits: TokenLimits = {}) {
  const { secret } = await gateway.api.call(routes.createToken, { body: { name: user, user, role: 'member', limits } })
  const api = createClient({ baseUrl: gateway.url, token: secret, version: 'test' })
  const start = async () =>
    (
      await api.call(routes.createTask, {
        body: { agent: 'command', command: ['true'], launcher: 'list', workspace: { kind: 'none' } },
      })
    ).id
  return { api, start }
}

const launched = (gateway: StubGateway, taskId: string) =>
  eventually(`${taskId} is launched`, async () => (await gateway.getTask(taskId)).state === 'starting')

test('a task beyond limits.maxTasksPerUser waits, says where it stands, and another user’s does not', async () => {
  const { gateway } = await gatewayOf({ maxTasks: 10, maxTasksPerUser: 1 })
  const alice = await userOf(gateway, 'alice')
  const bob = await userOf(gateway, 'bob')
  const first = await alice.start()
  await launched(gateway, first)
  const [second, third] = [await alice.start(), await alice.start()]
  await launched(gateway, await bob.start())
  expect(await gateway.getTask(second)).toMatchObject({ state: 'queued', limit: 'limits.maxTasksPerUser', position: 1 })
  expect(await gateway.getTask(third)).toMatchObject({ state: 'queued', limit: 'limits.maxTasksPerUser', position: 2 })
  const { tasks } = await alice.api.call(routes.listTasks, { query: { state: 'queued' } })
  expect(tasks.map((task) => task.state === 'queued' && task.position)).toEqual([2, 1])
  await gateway.api.call(routes.stopTask, { params: { taskId: first }, body: {} })
  await launched(gateway, second)
  expect(await gateway.getTask(third)).toMatchObject({ position: 1 })
})

test('a full gateway launches whoever runs fewest, and says limits.maxTasks to the others', async () => {
  const { gateway } = await gatewayOf({ maxTasks: 1 })
  const alice = await userOf(gateway, 'alice')
  const bob = await userOf(gateway, 'bob')
  const first = await alice.start()
  await launched(gateway, first)
  const second = await alice.start()
  await alice.start()
  const bobs = await bob.start()
  expect(await gateway.getTask(bobs)).toMatchObject({ limit: 'limits.maxTasks', position: 1 })
  expect(await gateway.getTask(second)).toMatchObject({ limit: 'limits.maxTasks', position: 2 })
  await gateway.api.call(routes.stopTask, { params: { taskId: first }, body: {} })
  await launched(gateway, bobs)
  expect((await gateway.getTask(second)).state).toBe('queued')
})

test('a token’s own limit on tasks counts for its tasks alone', async () => {
  const { gateway } = await gatewayOf({ maxTasks: 10 })
  const ci = await userOf(gateway, 'alice', { maxTasks: 1 })
  const laptop = await userOf(gateway, 'alice')
  await launched(gateway, await ci.start())
  const held = await ci.start()
  await launched(gateway, await laptop.start())
  expect(await gateway.getTask(held)).toMatchObject({ state: 'queued', limit: 'token.maxTasks', position: 1 })
})

test('more queued tasks than limits.maxQueued are refused with 429, the key and when to ask again', async () => {
  const { gateway } = await gatewayOf({ maxTasks: 1, maxQueued: 2 })
  const alice = await userOf(gateway, 'alice')
  const bob = await userOf(gateway, 'bob')
  await launched(gateway, await bob.start())
  const starts = await Promise.allSettled(Array.from({ length: 5 }, () => alice.start()))
  expect(starts.filter(({ status }) => status === 'fulfilled')).toHaveLength(2)
  const refused = starts.find((one) => one.status === 'rejected')?.reason
  expect(refused).toMatchObject({ code: 'limit', status: 429, retryAfterSeconds: 30 })
  expect(refused.message).toMatch(/^alice has 2 tasks in the queue.*\(limits\.maxQueued\)/)
  expect((await gateway.getTask(await bob.start())).state).toBe('queued') // another's queue is not full
})
