/** What a token opened is closed with it. */
import { readdir, readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { Role } from '../../protocol/route.ts'
import { routes } from '../../protocol/routes.ts'
import { eventually } from '../helpers/eventually.ts'
import { head, rawConnection, WEBSOCKET_HEADERS } from '../helpers/raw.ts'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { startWorld, type World } from '../helpers/world.ts'

/** Promised in docs/security.md. */
const CLOSED_WITHIN_MS = 5_000
const authorization = (secret: string) => `Authorization: Bearer ${secret}`

async function sleeping(world: World, owner: string): Promise<string> {
  stopTasksAfterwards(world)
  const spec = { agent: 'command' as const, command: ['sleep', '300'], workspace: { kind: 'none' as const } }
  const { id } = await world.createTask(spec, owner)
  await world.state(id, 'running')
  return id
}

const makeToken = (world: World, role: Role, expiresInSeconds?: number) =>
  world.api().call(routes.createToken, { body: { name: 'test', user: 'alice', role, expiresInSeconds } })

/** An event stream and a process's WebSocket, both seen to be open. */
async function openBoth(world: World, taskId: string, secret: string) {
  const stream = await rawConnection(world.url)
  const events = `GET /v1/tasks/${taskId}/events?follow=1 HTTP/1.1`
  stream.send(head(world.url, events, 'Accept: text/event-stream', authorization(secret)))
  await stream.until(/event: state/)
  const webSocket = await rawConnection(world.url)
  const spec = Buffer.from(JSON.stringify({ argv: ['sleep', '298'] })).toString('base64url')
  const attach = `GET /v1/tasks/${taskId}/processes/attach?spec=${spec} HTTP/1.1`
  webSocket.send(head(world.url, attach, ...WEBSOCKET_HEADERS, authorization(secret)))
  await webSocket.until(/"type":"started"/)
  return { stream, webSocket }
}

test("revoking a token closes its event stream and its WebSocket, and nobody else's", async () => {
  const world = await startWorld()
  const [revoked, kept] = [await makeToken(world, 'member'), await makeToken(world, 'member')]
  const taskId = await sleeping(world, kept.secret)
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
  const taskId = await sleeping(world, owner.secret)
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
