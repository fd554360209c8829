/** The API's promises to every client: keys that make repeats harmless, lists, and errors that say what is wrong. */
import { expect, test } from 'vitest'
import { Problem } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import { PROTOCOL_HEADER } from '../../protocol/version.ts'
import { tokenFor } from '../helpers/users.ts'
import { startWorld, type World } from '../helpers/world.ts'

const waiting = { agent: 'command' as const, command: ['true'], workspace: { kind: 'snapshot' as const } }

const create = (world: World, token: string, body: object, key?: string) =>
  fetch(`${world.url}/v1/tasks`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      ...(key !== undefined && { 'idempotency-key': key }),
    },
    body: JSON.stringify(body),
  })

const idOf = async (response: Response): Promise<string> => ((await response.json()) as { id: string }).id

/** The answer as a problem document, checked against its schema. */
async function problemOf(response: Response): Promise<Problem> {
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  const problem = Problem.parse(await response.json())
  expect(problem.status).toBe(response.status)
  expect(problem.requestId).toMatch(/^req_/)
  expect(problem.requestId).toBe(response.headers.get('rclaude-request-id'))
  return problem
}

test('an Idempotency-Key makes a repeat harmless, refuses another body, and belongs to its owner', async () => {
  const world = await startWorld()
  const [alice, bob] = [await tokenFor(world, 'alice'), await tokenFor(world, 'bob')]
  const first = await create(world, alice, waiting, 'key-1')
  const again = await create(world, alice, waiting, 'key-1')
  expect([first.status, again.status]).toEqual([201, 200])
  const id = await idOf(first)
  expect(await idOf(again)).toBe(id)
  const other = await create(world, alice, { ...waiting, command: ['false'] }, 'key-1')
  expect(await problemOf(other)).toMatchObject({ status: 409, code: 'conflict' })
  const foreign = await create(world, bob, waiting, 'key-1')
  expect(foreign.status).toBe(201)
  expect(await idOf(foreign)).not.toBe(id)
  expect((await world.api().call(routes.listTasks)).tasks).toHaveLength(2)
})

test('requests with one Idempotency-Key at the same moment make one task', async () => {
  const world = await startWorld()
  const alice = await tokenFor(world, 'alice')
  const responses = await Promise.all(Array.from({ length: 8 }, () => create(world, alice, waiting, 'same')))
  expect(responses.map(({ status }) => status).sort()).toEqual([200, 200, 200, 200, 200, 200, 200, 201])
  expect(new Set(await Promise.all(responses.map(idOf))).size).toBe(1)
  expect((await world.api().call(routes.listTasks)).tasks).toHaveLength(1)
})

test('lists are filtered by owner, state and label, and come page by page without holes', async () => {
  const world = await startWorld()
  const [alice, bob] = [await tokenFor(world, 'alice'), await tokenFor(world, 'bob')]
  const made: string[] = []
  for (let n = 0; n < 5; n++)
    made.push(await idOf(await create(world, alice, { ...waiting, labels: { n: `${n}`, odd: `${n % 2}` } })))
  const bobs = await idOf(await create(world, bob, { ...waiting, labels: { odd: '1' } }))
  const list = async (token: string, query: NonNullable<Parameters<typeof callList>[1]>) =>
    (await callList(token, query)).tasks.map(({ id }) => id)
  const callList = (
    token: string,
    query: { owner?: string; label?: string; limit?: number; cursor?: string; state?: 'queued' | 'ended' | 'active' },
  ) => world.api(token).call(routes.listTasks, { query })
  const newestFirst = made.toReversed()

  expect(await list(alice, {})).toEqual(newestFirst)
  expect(await list(alice, { owner: 'bob' })).toEqual(newestFirst)
  expect(await list(bob, {})).toEqual([bobs])
  expect(await list(world.adminToken, {})).toEqual([bobs, ...newestFirst])
  expect(await list(world.adminToken, { owner: 'alice' })).toEqual(newestFirst)
  expect(await list(alice, { label: 'odd=1' })).toEqual([made[3], made[1]])
  expect(await list(alice, { label: 'n' })).toEqual(newestFirst)
  expect(await list(alice, { label: 'odd=' })).toEqual([])
  expect(await list(alice, { state: 'ended' })).toEqual([])
  expect(await list(alice, { state: 'active' })).toEqual(newestFirst)

  const paged: string[] = []
  let cursor: string | undefined
  do {
    const page = await callList(alice, { limit: 2, ...(cursor !== undefined && { cursor }) })
    paged.push(...page.tasks.map(({ id }) => id))
    cursor = page.nextCursor
    await create(world, alice, waiting) // newer ones must not move the pages
  } while (cursor !== undefined)
  expect(paged).toEqual(newestFirst)
})

test('an invalid body names every place that is wrong, and nothing is made of it', async () => {
  const world = await startWorld()
  const body = { agent: 'command', command: [], env: { 'not a name': 'x' }, workspace: { kind: 'moon' } }
  const problem = await problemOf(await create(world, world.adminToken, body))
  expect(problem).toMatchObject({ status: 400, code: 'invalid' })
  expect(problem.issues?.map(({ path }) => path)).toEqual(
    expect.arrayContaining(['command', expect.stringMatching(/^env/), 'workspace.kind']),
  )
  expect((await world.api().call(routes.listTasks)).tasks).toEqual([])
})

test('errors are problem documents with a code and a request id', async () => {
  const world = await startWorld({ settings: { RCLAUDE_LIMITS__REQUEST_BODY: '64KiB' } })
  const ask = (path: string, init: RequestInit = {}) =>
    fetch(`${world.url}${path}`, { ...init, headers: { authorization: `Bearer ${world.adminToken}`, ...init.headers } })
  const post = (body: string) => ask('/v1/tasks', { method: 'POST', body })

  expect(await problemOf(await ask('/v1/nothing'))).toMatchObject({ status: 404, code: 'not_found' })
  expect(await problemOf(await ask('/v1/tasks', { method: 'PATCH' }))).toMatchObject({ status: 404 })
  expect(await problemOf(await post('{"agent":'))).toMatchObject({ status: 400, detail: expect.stringMatching(/JSON/) })
  expect(await problemOf(await post(`{"x":"${'x'.repeat(70_000)}"}`))).toMatchObject({
    status: 413,
    code: 'too_large',
    detail: expect.stringContaining('limits.requestBody'),
  })
  expect(await problemOf(await ask('/v1/tasks?limit=0'))).toMatchObject({ status: 400, issues: [{ path: 'limit' }] })
  expect(await problemOf(await ask('/v1/tasks/nonsense'))).toMatchObject({ status: 404 })
  expect(await problemOf(await ask('/v1/tasks/task_222222222222'))).toMatchObject({ status: 404 })
})

test('a client of another protocol is told which side to upgrade', async () => {
  const world = await startWorld()
  const ask = (version: string) => fetch(`${world.url}/v1/me`, { headers: { [PROTOCOL_HEADER]: version } })
  expect(await problemOf(await ask('0'))).toMatchObject({
    status: 426,
    code: 'version_mismatch',
    detail: expect.stringMatching(/upgrade this client$/),
  })
  expect(await problemOf(await ask('99'))).toMatchObject({
    status: 426,
    detail: expect.stringMatching(/upgrade the gateway$/),
  })
  expect(await problemOf(await ask('1'))).toMatchObject({ status: 401 })
})
