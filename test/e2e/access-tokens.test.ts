/** What a token opened is closed with it. */
import { readdir, readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { type AnyRoute, type Role, SCOPES, type Scope, scopeOf } from '../../protocol/route.ts'
import { routes } from '../../protocol/routes.ts'
import { eventually } from '../helpers/eventually.ts'
import { attachProcess, followEvents, sleepingTask } from '../helpers/open-connections.ts'
import { head, rawExchange, statuses, WEBSOCKET_HEADERS } from '../helpers/raw.ts'
import { startWorld, type World } from '../helpers/world.ts'

/** Promised in docs/security.md. */
const CLOSED_WITHIN_MS = 5_000
const authorization = (secret: string) => `Authorization: Bearer ${secret}`

const makeToken = (world: World, role: Role, expiresInSeconds?: number) =>
  world.api().call(routes.createToken, { body: { name: 'test', user: 'alice', role, expiresInSeconds } })

/** An event stream and a process's WebSocket, both seen to be open. */
async function openBoth(world: World, taskId: string, secret: string) {
  const stream = await followEvents(world, taskId, secret, 'sse')
  const webSocket = await attachProcess(world, taskId, secret)
  return { stream, webSocket }
}

test("revoking a token closes its event stream and its WebSocket, and nobody else's", async () => {
  const world = await startWorld()
  const [revoked, kept] = [await makeToken(world, 'member'), await makeToken(world, 'member')]
  const taskId = await sleepingTask(world, kept.secret)
  const mine = await openBoth(world, taskId, revoked.secret)
  const theirs = await openBoth(world, taskId, kept.secret)

  await world.api().call(routes.revokeToken, { params: { tokenId: revoked.token.id } })
  await mine.stream.closed(CLOSED_WITHIN_MS)
  await mine.webSocket.closed(CLOSED_WITHIN_MS)
  expect([theirs.stream.isClosed, theirs.webSocket.isClosed]).toEqual([false, false])
  await expect(world.api(revoked.secret).call(routes.me)).rejects.toMatchObject({ code: 'unauthenticated' })
})

test('a token that expires closes what it opened', async () => {
  const world = await startWorld()
  const owner = await makeToken(world, 'member')
  const taskId = await sleepingTask(world, owner.secret)
  const expiring = await makeToken(world, 'member', 3)
  const open = await openBoth(world, taskId, expiring.secret)
  const expiresInMs = Date.parse(expiring.token.expiresAt ?? '') - Date.now()
  expect(open.stream.isClosed || open.webSocket.isClosed).toBe(false)
  await open.stream.closed(expiresInMs + CLOSED_WITHIN_MS)
  await open.webSocket.closed(expiresInMs + CLOSED_WITHIN_MS)
  await expect(world.api(expiring.secret).call(routes.me)).rejects.toMatchObject({ code: 'unauthenticated' })
})

test("a token's value is in no answer but the first, in no log and in no file", async () => {
  const world = await startWorld()
  const { secret, token } = await makeToken(world, 'viewer')
  await world.api(secret).call(routes.me)
  const listed = await (await world.api().raw(routes.listTokens)).text()
  expect(listed).toContain(token.id)
  expect(listed).not.toContain(secret)
  expect(listed).not.toContain('hash')
  await eventually('it was used', async () =>
    (await world.api().call(routes.listTokens)).tokens.some(({ id, lastUsedAt }) => id === token.id && lastUsedAt),
  )
  expect(world.gatewayLog).not.toContain(secret)
  expect(await filesWith(world.data, secret)).toEqual([])
})

test('a rotated token has a new value; the old one, and what it opened, ends with the grace', async () => {
  const world = await startWorld()
  const owner = await makeToken(world, 'member')
  const taskId = await sleepingTask(world, owner.secret)
  const old = await openBoth(world, taskId, owner.secret)
  const { secret, token } = await world.api().call(routes.rotateToken, {
    params: { tokenId: owner.token.id },
    body: { graceSeconds: 3 },
  })
  expect(token).toMatchObject({ id: owner.token.id, name: 'test', user: 'alice' })
  expect(secret).not.toBe(owner.secret)
  const fresh = await openBoth(world, taskId, secret)
  expect((await world.api(owner.secret).call(routes.me)).tokenId).toBe(token.id)
  await old.stream.closed(3_000 + CLOSED_WITHIN_MS)
  await old.webSocket.closed(3_000 + CLOSED_WITHIN_MS)
  expect([fresh.stream.isClosed, fresh.webSocket.isClosed]).toEqual([false, false])
  await expect(world.api(owner.secret).call(routes.me)).rejects.toMatchObject({
    code: 'unauthenticated',
    message: expect.stringContaining('was rotated'),
  })
  expect((await world.api(secret).call(routes.me)).user).toBe('alice')

  // Without a grace what the last value opened ends too; and of the value before that nothing is left at all.
  const last = await world.api().call(routes.rotateToken, { params: { tokenId: token.id }, body: { graceSeconds: 0 } })
  await fresh.stream.closed(CLOSED_WITHIN_MS)
  await fresh.webSocket.closed(CLOSED_WITHIN_MS)
  for (const dead of [owner.secret, secret])
    await expect(world.api(dead).call(routes.me)).rejects.toMatchObject({ code: 'unauthenticated' })
  await world.api().call(routes.revokeToken, { params: { tokenId: token.id } })
  await expect(world.api(last.secret).call(routes.me)).rejects.toMatchObject({ code: 'unauthenticated' })
  await expect(world.api().call(routes.rotateToken, { params: { tokenId: token.id }, body: {} })).rejects.toMatchObject(
    { code: 'not_found' },
  )
})

test('the command line makes, lists, rotates and revokes tokens by name, and never shows a value twice', async () => {
  const world = await startWorld()
  const rclaude = (...args: string[]) => world.cli(['token', ...args], { env: world.asAdmin })
  const made = await rclaude('create', 'ci', '--user', 'ci', '--scope', 'tasks:read,tasks:write', '--expires', '3d')
  expect(made, made.stderr).toMatchObject({ code: 0, stdout: expect.stringMatching(/^rct_\S+\n$/) })
  const listed = await rclaude('ls')
  expect(listed.stdout).toMatch(/tasks:read,tasks:write +valid for .* never +ci$/m)
  const rotated = await rclaude('rotate', 'ci', '--grace', '0')
  expect(rotated, rotated.stderr).toMatchObject({ code: 0, stdout: expect.stringMatching(/^rct_\S+\n$/) })
  const asCi = (secret: string) => ({ env: { ...world.asAdmin, RCLAUDE_TOKEN: secret.trim() } })
  expect((await world.cli(['ps'], asCi(made.stdout))).code).toBe(EXIT_CODES.internal)
  const ps = await world.cli(['ps'], asCi(rotated.stdout))
  expect(ps, ps.stderr).toMatchObject({ code: 0, stderr: expect.stringContaining('your token ends in ') })
  expect((await rclaude('ls')).stdout + (await rclaude('ls', '--json')).stdout).not.toMatch(/rct_|[Hh]ash/)

  await rclaude('create', 'ci', '--user', 'other')
  const several = await rclaude('revoke', 'ci')
  expect(several).toMatchObject({ code: EXIT_CODES.usage, stderr: expect.stringContaining('(other)') })
  const id = /token_\w+/.exec(made.stderr)?.[0] ?? ''
  expect((await rclaude('revoke', id)).code).toBe(0)
  expect((await rclaude('revoke', 'ci')).code).toBe(0) // one of this name is left
  expect((await rclaude('rotate', 'ci')).stderr).toMatch(/no valid token/)
  expect((await rclaude('create', 'x', '--user', 'x', '--scope', 'run')).stderr).toMatch(/"run" is none of tasks:read/)
})

test('rotating the token of the local gateway keeps its owner in', async () => {
  const world = await startWorld()
  const before = world.adminToken
  const { tokenId } = await world.api().call(routes.me)
  const { secret } = await world.api().call(routes.rotateToken, { params: { tokenId }, body: { graceSeconds: 0 } })
  expect(world.adminToken).toBe(secret)
  await expect(world.api(before).call(routes.me)).rejects.toMatchObject({ code: 'unauthenticated' })
})

test.each([
  [{}, undefined, 90 * 86_400],
  [{}, 3_600, 3_600],
  [{}, 0, 'limits.tokenMaxLifetime'],
  [{}, 366 * 86_400, 'limits.tokenMaxLifetime'],
  [{ RCLAUDE_LIMITS__TOKEN_MAX_LIFETIME: '1h' }, undefined, 3_600],
  [{ RCLAUDE_LIMITS__TOKEN_MAX_LIFETIME: '0', RCLAUDE_LIMITS__TOKEN_LIFETIME: '0' }, undefined, undefined],
  [{ RCLAUDE_LIMITS__TOKEN_MAX_LIFETIME: '0' }, 0, undefined],
] as const)('with %j a token asked for %s s lives for %s', async (settings, expiresInSeconds, expected) => {
  const world = await startWorld({ settings })
  const made = makeToken(world, 'viewer', expiresInSeconds)
  if (typeof expected === 'string')
    return expect(made).rejects.toMatchObject({ code: 'invalid', message: expect.stringContaining(expected) })
  const { token } = await made
  const seconds = token.expiresAt && (Date.parse(token.expiresAt) - Date.parse(token.createdAt)) / 1000
  expect(seconds).toBe(expected)
})

test('a narrowed token is let in where its scope says, on every route, and hands out nothing wider', async () => {
  const world = await startWorld()
  const make = (scope: Scope[], token?: string) =>
    world.api(token).call(routes.createToken, { body: { name: 'narrow', user: 'root', role: 'admin', scope } })
  const wrong: string[] = []
  for (const scope of SCOPES) {
    const { secret } = await make([scope])
    for (const route of Object.values(routes) as AnyRoute[]) {
      const path = route.path
        .replace(/:taskId/, 'task_222222222222')
        .replace(/:\w+/g, 'xx')
        .replace(/\*$/, 'x')
      const answer = route.upgrade
        ? await upgradeStatus(world, path, secret)
        : await fetch(world.url + path, { method: route.method, headers: { authorization: `Bearer ${secret}` } })
      const isOpen = scopeOf(route) === undefined || scopeOf(route) === scope
      if ((answer.status === 403) === isOpen) wrong.push(`${route.name} with ${scope}: ${answer.status}`)
    }
  }
  expect(wrong).toEqual([])
  const { secret } = await make(['admin', 'tasks:read'])
  expect((await make(['tasks:read'], secret)).token.scope).toEqual(['tasks:read'])
  await expect(make(['access'], secret)).rejects.toMatchObject({ code: 'forbidden' })
  const { tokenId } = await world.api().call(routes.me)
  const all = world.api(secret).call(routes.createToken, { body: { name: 'x', user: 'root', role: 'admin' } })
  await expect(all).rejects.toMatchObject({ code: 'forbidden' })
  await expect(world.api(secret).call(routes.rotateToken, { params: { tokenId }, body: {} })).rejects.toMatchObject({
    code: 'forbidden',
  })
})

async function upgradeStatus(world: World, path: string, secret: string): Promise<{ status: number }> {
  const answer = head(world.url, `GET ${path} HTTP/1.1`, ...WEBSOCKET_HEADERS, authorization(secret))
  return { status: statuses(await rawExchange(world.url, answer))[0] ?? 0 }
}

async function filesWith(directory: string, text: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const hits = entries
    .filter((entry) => entry.isFile())
    .map(async (entry) => {
      const content = await readFile(`${entry.parentPath}/${entry.name}`)
      return content.includes(text) ? [entry.name] : []
    })
  return (await Promise.all(hits)).flat()
}
