/**
 * Bytes that mean one thing to the gateway and could mean another to the agent. Every test speaks on a bare socket to a
 * real gateway with a running task; the proof is that a process which a smuggled request would start never starts.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { routes } from '../../protocol/routes.ts'
import { eventually } from '../helpers/eventually.ts'
import { head, type RawConnection, rawConnection, rawExchange, statuses, WEBSOCKET_HEADERS } from '../helpers/raw.ts'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { uploadFiles } from '../helpers/upload.ts'
import { tokenFor } from '../helpers/users.ts'
import { startWorld, type World } from '../helpers/world.ts'

interface Scene {
  world: World
  url: string
  taskId: string
  /** Of a member who owns the task. */
  token: string
  /** What a smuggled `POST /exec` to the agent would look like; it would make the marker. */
  smuggled: string
  marker: string
  /** One request with the owner's token, on a connection that closes after it. */
  send(line: string, headers?: string[], body?: string): Promise<string>
}

async function startScene(settings: Record<string, string> = {}): Promise<Scene> {
  const world = await startWorld({ settings })
  stopTasksAfterwards(world)
  const token = await tokenFor(world, 'alice')
  const command = ['sleep', '300']
  const { id } = await world.createTask({ agent: 'command', command, workspace: { kind: 'snapshot' } }, token)
  await uploadFiles(world, id, { 'hello.txt': 'hello\n' })
  await eventually('the task works', () => world.commands().some((one) => one.startsWith('sleep 300')), 20_000)
  const marker = join(world.directory, 'smuggled')
  const body = JSON.stringify({ argv: ['touch', marker] })
  const smuggled = `POST /exec HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  const url = world.url
  return {
    world,
    url,
    taskId: id,
    token,
    smuggled,
    marker,
    send: (line, headers = [], text = '') =>
      rawExchange(url, head(url, line, `Authorization: Bearer ${token}`, 'Connection: close', ...headers) + text),
  }
}

const statusOf = (received: string): number | undefined => statuses(received)[0]

/** Long enough for a process that was started to have made its marker: one that is started now, and made its own. */
async function expectNothingSmuggled({ world, taskId, token, marker }: Scene): Promise<void> {
  const proof = `${marker}-proof`
  const response = await world.api(token).raw(routes.exec, {
    params: { taskId },
    rawBody: JSON.stringify({ argv: ['touch', proof] }),
    headers: { 'content-type': 'application/json' },
  })
  await response.text()
  expect([existsSync(proof), existsSync(marker)]).toEqual([true, false])
}

test('a request in the body of a GET stays a body', async () => {
  const scene = await startScene()
  const { taskId, smuggled, send } = scene
  const line = `GET /v1/tasks/${taskId}/files/hello.txt HTTP/1.1`
  const lengths = await send(line, [`Content-Length: ${smuggled.length}`], smuggled)
  expect(statuses(lengths)).toEqual([200])
  const chunk = `${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`
  const chunked = await send(line, ['Transfer-Encoding: chunked'], chunk)
  expect(statuses(chunked)).toEqual([200])
  await expectNothingSmuggled(scene)
})

test('a body that was not announced is another request to the gateway, without a token', async () => {
  const scene = await startScene()
  const { url, taskId, token, smuggled } = scene
  const first = head(url, `GET /v1/tasks/${taskId}/files/hello.txt HTTP/1.1`, `Authorization: Bearer ${token}`)
  const received = await rawExchange(
    url,
    first + smuggled.replace('Host: agent', `Connection: close\r\nHost: ${new URL(url).host}`),
  )
  expect(statuses(received)).toEqual([200, 404])
  await expectNothingSmuggled(scene)
})

test('framing that two parsers could read differently is refused', async () => {
  const scene = await startScene()
  const { taskId, smuggled, send } = scene
  const line = `PUT /v1/tasks/${taskId}/files/x.txt HTTP/1.1`
  const chunk = `1\r\nx\r\n0\r\n\r\n${smuggled}`
  const bodies: Array<[string, string[], string]> = [
    ['both framings', ['Content-Length: 4', 'Transfer-Encoding: chunked'], chunk],
    ['two lengths', ['Content-Length: 1', `Content-Length: ${smuggled.length + 1}`], `x${smuggled}`],
    ['a list of lengths', [`Content-Length: 1, ${smuggled.length + 1}`], `x${smuggled}`],
    ['a length with a sign', ['Content-Length: +1'], `x${smuggled}`],
    ['chunked, but not last', ['Transfer-Encoding: chunked, identity'], chunk],
    ['an unknown coding', ['Transfer-Encoding: xchunked'], chunk],
    ['a folded header', ['X-A: b', ' Transfer-Encoding: chunked'], chunk],
    ['a space before the colon', ['Transfer-Encoding : chunked'], chunk],
    ['a chunk size that is none', ['Transfer-Encoding: chunked'], `0x1\r\nx\r\n0\r\n\r\n${smuggled}`],
    ['a bare line feed in a chunk', ['Transfer-Encoding: chunked'], `1\nx\r\n0\r\n\r\n${smuggled}`],
  ]
  for (const [what, headers, body] of bodies)
    expect([what, statuses(await send(line, headers, body))]).toEqual([what, [400]])
  await expectNothingSmuggled(scene)
})

test('a path that could mean another one is refused before anybody is asked', async () => {
  const { taskId, send } = await startScene()
  const task = `/v1/tasks/${taskId}`
  const targets = [
    `${task}/files/../run`,
    `${task}/files/%2e%2e/run`,
    `${task}/files/.%2E/../run`,
    `${task}/files/..%2frun`,
    `${task}/files/x%5c..%5crun`,
    `${task}/./run`,
    `//${taskId}/run`,
    `http://agent${task}/files/hello.txt`,
    `http://agent/run`,
    'agent/run',
    '*',
    `/v1/tasks/%74${taskId.slice(1)}/files/hello.txt`,
    `/v1/%74asks/${taskId}/files/hello.txt`,
    `/%76%31/tasks/${taskId}/files/hello.txt`,
  ]
  for (const target of targets) {
    const received = await send(`GET ${target} HTTP/1.1`)
    expect([target, statusOf(received)]).toEqual([target, 400])
    // The gateway's own words, so the agent was not asked. Node itself refuses what does not even begin like a path.
    if (target.startsWith('/'))
      expect([target, received]).toEqual([target, expect.stringContaining("the request's path")])
    expect(received).not.toContain('hello\n')
  }
})

test('what only the gateway may ask of an agent cannot be reached by any path', async () => {
  const scene = await startScene()
  const { world, taskId, send } = scene
  for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS'])
    for (const path of [
      'run',
      'stop/',
      'shutdown',
      'files/../shutdown',
      'shutdown/',
      'exec/../shutdown',
      '%73hutdown',
    ]) {
      const received = await send(`${method} /v1/tasks/${taskId}/${path} HTTP/1.1`, ['Content-Length: 2'], '{}')
      expect([400, 404, 405], `${method} ${path}`).toContain(statusOf(received))
    }
  // The gateway has a route of this name: it answers from its store, whatever the agent's would have said.
  expect(await send(`GET /v1/tasks/${taskId}/events HTTP/1.1`)).toContain('"seq":1')
  const methods = await send(`GET /v1/tasks/${taskId}/files/hello.txt HTTP/1.1`, ['X-HTTP-Method-Override: DELETE'])
  expect(statusOf(methods)).toBe(200)
  expect((await world.getTask(taskId)).state).toBe('running')
})

test('headers that only the gateway may set are stripped, whatever Connection says of them', async () => {
  const scene = await startScene()
  const { world, taskId, token, send } = scene
  const forged = ['rclaude-user: root', 'Rclaude-Role: admin', 'X-Forwarded-For: 1.2.3.4', 'Cookie: a=b']
  for (const connection of [
    'close, rclaude-user, rclaude-role',
    'close, host, content-length',
    'close, authorization',
  ]) {
    const headers = [...forged, `Connection: ${connection}`]
    expect(statusOf(await send(`GET /v1/tasks/${taskId}/processes HTTP/1.1`, headers))).toBe(200)
    // Without `rclaude-user` the agent would take this for the gateway's own request and answer.
    expect(statusOf(await send(`GET /v1/tasks/${taskId}/run HTTP/1.1`, headers))).toBe(404)
  }
  expect((await world.api(token).call(routes.me)).role).toBe('member')
})

test('an upgrade to anything but a WebSocket is answered and closed', async () => {
  const scene = await startScene()
  const { taskId, send, smuggled } = scene
  const upgrade = async (path: string, headers: string[], body = '') =>
    statuses(await send(`GET ${path} HTTP/1.1`, headers, body))
  const task = `/v1/tasks/${taskId}`
  const h2c = ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__']
  expect(await upgrade(`${task}/files/hello.txt`, h2c, smuggled)).toEqual([415])
  expect(await upgrade(`${task}/processes/attach`, h2c)).toEqual([415])
  expect(await upgrade(`${task}/processes/attach`, ['Connection: Upgrade', 'Upgrade: websocket, h2c'])).toEqual([415])
  expect(await upgrade(`${task}/files/hello.txt`, [...WEBSOCKET_HEADERS], smuggled)).toEqual([404])
  expect(await upgrade(`${task}/run`, [...WEBSOCKET_HEADERS], smuggled)).toEqual([404])
  expect(await upgrade(`${task}/processes/../run`, [...WEBSOCKET_HEADERS], smuggled)).toEqual([400])
  expect(await upgrade(`/v1/me`, [...WEBSOCKET_HEADERS])).toEqual([404])
  expect(statuses(await send(`POST ${task}/processes/attach HTTP/1.1`, [...WEBSOCKET_HEADERS]))).toEqual([404])
  const noKey = WEBSOCKET_HEADERS.filter((line) => !line.includes('-Key'))
  expect(await upgrade(`${task}/processes/attach?spec=e30`, noKey)).toEqual([400])
  // The agent refuses (its spec is empty): no splice, so what follows reaches nobody.
  expect(await upgrade(`${task}/processes/attach?spec=e30`, [...WEBSOCKET_HEADERS], smuggled)).toEqual([400])
  await expectNothingSmuggled(scene)
})

test('a client that was refused an upgrade loses its socket, although it keeps its own side open', async () => {
  const { url } = await startScene()
  const connection = await rawConnection(url)
  const gone = new Promise((resolve) => connection.socket.once('error', resolve))
  connection.send(head(url, 'GET /v1/tunnel HTTP/1.1', 'Connection: Upgrade', 'Upgrade: websocket'))
  expect(statusOf(await connection.closed())).toBe(401)
  // Only a socket that is really gone answers further bytes with a reset.
  const typing = setInterval(() => connection.socket.write('x'), 100)
  const error = await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, 8_000))])
  clearInterval(typing)
  expect(error).toBeInstanceOf(Error)
})

test('a body is not asked for before the token was looked at', async () => {
  const { url, taskId, token } = await startScene()
  const put = (authorization: string) =>
    head(
      url,
      `PUT /v1/tasks/${taskId}/files/late.txt HTTP/1.1`,
      authorization,
      'Expect: 100-continue',
      'Content-Length: 4',
      'Connection: close',
    )
  const refused = await rawExchange(url, put('Authorization: Bearer rct_wrong'))
  expect(statuses(refused)).toEqual([401])
  const wanted = await rawConnection(url)
  wanted.send(put(`Authorization: Bearer ${token}`))
  expect(statuses(await wanted.until(/100 Continue/))).toEqual([100])
  wanted.send('late')
  expect(statuses(await wanted.closed())).toEqual([100, 201])
})

test('a connection whose token is not valid is not kept for a body that never ends', async () => {
  const { url } = await startScene()
  const connection = await rawConnection(url)
  connection.send(head(url, 'GET /v1/me HTTP/1.1', 'Transfer-Encoding: chunked'))
  expect(statusOf(await connection.closed(5_000))).toBe(401)
})

test('another name in Host and another site in Origin are turned away', async () => {
  const { url, taskId, token } = await startScene()
  const ask = (...headers: string[]) =>
    rawExchange(
      url,
      `${['GET /v1/me HTTP/1.1', `Authorization: Bearer ${token}`, 'Connection: close', ...headers].join('\r\n')}\r\n\r\n`,
    )
  const { host } = new URL(url)
  expect(statusOf(await ask(`Host: ${host}`))).toBe(200)
  expect(statusOf(await ask('Host: evil.example'))).toBe(403)
  expect(statusOf(await ask(`Host: ${host}.evil.example`))).toBe(403)
  expect(statusOf(await ask('Host: '))).toBe(403)
  expect(statusOf(await ask())).toBe(400)
  for (const origin of ['https://evil.example', 'null', `http://${host}`])
    expect(statusOf(await ask(`Host: ${host}`, `Origin: ${origin}`)), origin).toBe(403)
  const path = `/v1/tasks/${taskId}/processes/attach?spec=e30`
  for (const [name, value] of [
    ['Host', 'evil.example'],
    ['Origin', 'https://evil.example'],
  ] as const) {
    const lines = [`GET ${path} HTTP/1.1`, ...WEBSOCKET_HEADERS, `Authorization: Bearer ${token}`, `${name}: ${value}`]
    const hostLine = name === 'Host' ? [] : [`Host: ${host}`]
    expect(statusOf(await rawExchange(url, `${[...lines, ...hostLine].join('\r\n')}\r\n\r\n`)), name).toBe(403)
  }
})

test('whoever is slow with a header is cut off', async () => {
  const { url } = await startScene({ RCLAUDE_LIMITS__HANDSHAKE_TIMEOUT: '1s' })
  const silent = await rawConnection(url)
  const slow = await rawConnection(url)
  slow.send('GET /v1/me HTTP/1.1\r\nHost:')
  const typing = setInterval(() => slow.socket.write(' '), 100)
  await Promise.all([silent.closed(5_000), slow.closed(5_000)]).finally(() => clearInterval(typing))
  expect(statusOf(slow.received)).toBe(408)
  const large = await rawExchange(url, head(url, 'GET /v1/me HTTP/1.1', `X-Large: ${'x'.repeat(17_000)}`))
  expect(statusOf(large)).toBe(431)
})

test('connections that only hold the door are dropped beyond the limit, and clients still get in', async () => {
  const { world, url, token } = await startScene({ RCLAUDE_LIMITS__HANDSHAKES: '20' })
  const holders: RawConnection[] = []
  for (let n = 0; n < 60; n++) holders.push(await rawConnection(url))
  await eventually('all but the limit are dropped', () => holders.filter(({ isClosed }) => isClosed).length >= 40)
  expect(holders.slice(0, 40).every(({ isClosed }) => isClosed)).toBe(true)
  expect((await world.api(token).call(routes.me)).user).toBe('alice')
  // An upload that was told to go on is no door-holder, however long it takes.
  const upload = await rawConnection(url)
  upload.send(
    head(url, 'POST /v1/tasks HTTP/1.1', `Authorization: Bearer ${token}`, 'Expect: 100-continue', 'Content-Length: 2'),
  )
  await upload.until(/100 Continue/)
  for (let n = 0; n < 30; n++) holders.push(await rawConnection(url))
  await eventually(
    'the later ones pushed the earlier ones out',
    () => holders.filter((one) => !one.isClosed).length <= 20,
  )
  upload.send('{}')
  expect(statuses(await upload.until(/"issues"/))).toEqual([100, 400])
})
