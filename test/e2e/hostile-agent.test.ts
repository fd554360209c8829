/**
 * An agent is whatever dials with its credential: here it is the test, with a join code taken from a real launch, on a
 * real WebSocket and a real tunnel. It may ruin its own task and nothing else.
 */
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import type { AgentEvent } from '../../protocol/event.ts'
import { routes } from '../../protocol/routes.ts'
import { requestOver } from '../../tunnel/http.ts'
import type { Tunnel } from '../../tunnel/tunnel.ts'
import { eventually } from '../helpers/eventually.ts'
import { head, rawExchange, statuses, WEBSOCKET_HEADERS } from '../helpers/raw.ts'
import { dialAs, newCredential, type Serve, type StubGateway, startStubGateway } from '../helpers/stub-gateway.ts'

const refusedWith = (status: number) => expect.objectContaining({ status })

/** A task whose agent is the test. */
async function connectedTask(gateway: StubGateway, serve?: Serve): Promise<{ taskId: string; tunnel: Tunnel }> {
  const launch = await gateway.launch()
  const tunnel = await dialAs(gateway, { ...launch, credential: newCredential() }, serve)
  await eventually('the task runs', async () => (await gateway.getTask(launch.taskId)).state === 'running')
  return { taskId: launch.taskId, tunnel }
}

/** A request on a stream that the agent opens. */
async function ask(tunnel: Tunnel, method: string, path: string, body = ''): Promise<{ status: number; body: string }> {
  const request = requestOver(tunnel.open(), {
    method,
    path,
    headers: { host: 'gateway', 'content-length': body.length },
  })
  request.end(body)
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return { status: response.statusCode ?? 0, body: await text(response) }
}

const isPath = (request: IncomingMessage, path: string) => request.url?.split('?', 1)[0] === path

test("only the launch's own code and credential open a tunnel", async () => {
  const gateway = await startStubGateway()
  const [a, b] = [await gateway.launch(), await gateway.launch()]
  const credential = newCredential()
  const wrong = [
    { ...a, credential, joinCode: 'guessed' },
    { ...a, credential, joinCode: b.joinCode },
    { ...a, credential, joinCode: '' },
    { taskId: a.taskId, launchId: a.launchId, credential },
    { ...a, taskId: b.taskId, credential },
    { ...a, launchId: b.launchId, credential },
    { ...a, launchId: 'launch_222222222222', credential },
    { ...a, launchId: "' OR 1=1 --", credential },
    { ...a, credential: 'short' },
  ]
  for (const who of wrong) await expect(dialAs(gateway, who), JSON.stringify(who)).rejects.toEqual(refusedWith(401))
  expect((await gateway.getTask(a.taskId)).state).toBe('starting')

  const tunnel = await dialAs(gateway, { ...a, credential })
  const own = { taskId: a.taskId, launchId: a.launchId, credential }
  await expect(dialAs(gateway, { ...own, credential: newCredential() })).rejects.toEqual(refusedWith(401))
  await expect(dialAs(gateway, { ...own, taskId: b.taskId, launchId: b.launchId })).rejects.toEqual(refusedWith(401))
  await expect(dialAs(gateway, { ...own, taskId: b.taskId })).rejects.toEqual(refusedWith(401))
  const again = await dialAs(gateway, own)
  expect((await tunnel.closed).message).toMatch(/dialled again/)
  expect(again.isClosed).toBe(false)
})

test("a user's token is no agent's credential, and an agent's credential is no user's token", async () => {
  const gateway = await startStubGateway()
  const launch = await gateway.launch()
  const own = { taskId: launch.taskId, launchId: launch.launchId }
  await expect(dialAs(gateway, { ...own, credential: gateway.token })).rejects.toEqual(refusedWith(401))
  const credential = newCredential()
  await dialAs(gateway, { ...launch, credential })
  for (const token of [credential, launch.joinCode]) {
    const response = await fetch(`${gateway.url}/v1/tasks`, { headers: { authorization: `Bearer ${token}` } })
    expect(response.status).toBe(401)
  }
})

test('a join code that comes a second time with another credential stops the task', async () => {
  const gateway = await startStubGateway()
  const launch = await gateway.launch()
  await dialAs(gateway, { ...launch, credential: newCredential() })
  await expect(dialAs(gateway, { ...launch, credential: newCredential() })).rejects.toEqual(refusedWith(401))
  const task = await gateway.getTask(launch.taskId)
  expect(task.stopRequested).toMatchObject({ by: 'gateway', reason: expect.stringContaining('join code') })
  expect(gateway.log()).toContain('a join code was used twice')
})

test('the same exchange made twice is the same agent, whose answer was lost', async () => {
  const gateway = await startStubGateway()
  const launch = await gateway.launch()
  const credential = newCredential()
  await dialAs(gateway, { ...launch, credential })
  await dialAs(gateway, { ...launch, credential })
  expect((await gateway.getTask(launch.taskId)).stopRequested).toBeUndefined()
})

test('an agent of another protocol is told which side to upgrade', async () => {
  const gateway = await startStubGateway()
  const launch = await gateway.launch()
  const who = { ...launch, credential: newCredential(), headers: { 'rclaude-protocol': '99' } }
  await expect(dialAs(gateway, who)).rejects.toEqual(
    expect.objectContaining({ status: 426, message: expect.stringContaining('upgrade the gateway') }),
  )
})

test('once its task has ended, an agent is gone for good', async () => {
  const gateway = await startStubGateway()
  const launch = await gateway.launch()
  const credential = newCredential()
  const tunnel = await dialAs(gateway, { ...launch, credential })
  await gateway.api.call(routes.stopTask, { params: { taskId: launch.taskId }, body: {} })
  process.kill(Number(await placementOf(gateway, launch.taskId)), 'SIGKILL')
  await eventually('the task has ended', async () => (await gateway.getTask(launch.taskId)).state === 'ended', 25_000)
  await tunnel.closed
  const own = { taskId: launch.taskId, launchId: launch.launchId, credential }
  await expect(dialAs(gateway, own)).rejects.toEqual(refusedWith(410))
}, 40_000)

const placementOf = async (gateway: StubGateway, taskId: string): Promise<string> => {
  const task = await gateway.getTask(taskId)
  return 'placement' in task && task.placement ? task.placement.handle : ''
}

test('an agent reaches the closed list of paths and no other, under its own task only', async () => {
  const gateway = await startStubGateway()
  const { taskId, tunnel } = await connectedTask(gateway)
  const forbidden: Array<[string, string]> = [
    ['GET', '/v1/tasks'],
    ['GET', '/v1/audit'],
    ['POST', '/v1/tokens'],
    ['GET', '/healthz'],
    ['GET', '/git/config'],
    ['GET', '/git/../v1/tasks'],
    ['GET', '/git/info/../../v1/tasks'],
    ['GET', '/git%2finfo/refs'],
    ['GET', '/artifacts/x'],
    ['DELETE', '/artifacts/x'],
    ['PUT', '/artifacts/a/b'],
    ['PUT', '/artifacts/'],
    ['GET', '//'],
    ['GET', 'http://[/'],
  ]
  for (const [method, path] of forbidden)
    expect([method, path, (await ask(tunnel, method, path)).status]).toEqual([method, path, 404])
  expect((await ask(tunnel, 'PUT', '/artifacts/%ff')).status).toBe(400)
  expect((await ask(tunnel, 'PUT', '/artifacts/..%2F..%2Fescape', 'x')).status).toBe(204)
  const { artifacts } = await gateway.api.call(routes.listArtifacts, { params: { taskId } })
  expect(artifacts).toEqual([{ name: '../../escape', size: 1 }])
  // This task has no workspace; an identity in a header is nobody's.
  expect((await ask(tunnel, 'GET', '/git/info/refs?service=git-upload-pack')).status).toBe(404)
  expect(gateway.log()).not.toContain('request failed')
})

test.each([
  ['by default', {}, 8],
  ['as configured', { agentStreams: 3 }, 3],
])("an agent's streams beyond the limit are refused, and the others go on (%s)", async (_which, limits, most) => {
  const gateway = await startStubGateway({ limits })
  const { tunnel } = await connectedTask(gateway)
  const streams = Array.from({ length: most }, () => tunnel.open().on('error', () => {}))
  for (const stream of streams) stream.write('PUT /artifacts/slow HTTP/1.1\r\nHost: gateway\r\n')
  const oneMore = tunnel.open()
  const refused = once(oneMore, 'error')
  oneMore.write('GET / HTTP/1.1\r\nHost: gateway\r\n\r\n')
  expect(await refused).toEqual([expect.objectContaining({ code: 'TUNNEL_STREAM_REFUSED' })])
  expect(streams.every((stream) => !stream.destroyed)).toBe(true)
  const [first] = streams
  first?.write('Content-Length: 1\r\n\r\nx')
  expect(await firstBytes(first)).toContain('204')
})

test('an artifact too large or too many is refused with the limit, however much of it is still to come', async () => {
  const gateway = await startStubGateway({ limits: { artifact: '1MiB', artifacts: '1.5MiB', maxArtifacts: 2 } })
  const { taskId, tunnel } = await connectedTask(gateway)
  const mebibyte = 'x'.repeat(1024 * 1024)
  const put = (name: string, body: string) => ask(tunnel, 'PUT', `/artifacts/${name}`, body)
  expect(await put('large', mebibyte.repeat(8))).toMatchObject({
    status: 413,
    body: expect.stringContaining('limits.artifact)'),
  })
  expect((await put('a', mebibyte)).status).toBe(204)
  expect((await put('a', mebibyte)).status).toBe(204) // the same again takes its own place
  expect(await put('b', mebibyte)).toMatchObject({ status: 413, body: expect.stringContaining('limits.artifacts)') })
  expect((await put('b', 'x')).status).toBe(204)
  expect(await put('c', 'x')).toMatchObject({ status: 429, body: expect.stringContaining('limits.maxArtifacts') })
  const { artifacts } = await gateway.api.call(routes.listArtifacts, { params: { taskId } })
  expect(artifacts.map(({ name }) => name).sort()).toEqual(['a', 'b'])
})

test('an agent that dials without end is told to wait', async () => {
  const gateway = await startStubGateway({ limits: { dialsPerMinute: 6 } })
  const launch = await gateway.launch()
  const credential = newCredential()
  for (let n = 0; n < 6; n++) await dialAs(gateway, { ...launch, credential })
  await expect(dialAs(gateway, { ...launch, credential })).rejects.toEqual(refusedWith(429))
})

test('a header that does not come is waited for only so long', async () => {
  const gateway = await startStubGateway()
  const { tunnel } = await connectedTask(gateway)
  const stream = tunnel.open()
  stream.write('GET /git/info/refs HTTP/1.1\r\nHost:')
  expect(await firstBytes(stream, 15_000)).toContain('408')
}, 25_000)

async function firstBytes(stream: Duplex | undefined, timeoutMs = 5_000): Promise<string> {
  if (stream === undefined) return ''
  const [bytes] = (await once(stream, 'data', { signal: AbortSignal.timeout(timeoutMs) })) as [Buffer]
  return bytes.toString()
}

/** Asks the gateway, as a user, for what this agent serves. */
async function askThrough(
  gateway: StubGateway,
  taskId: string,
  path = 'files/page.html',
  line = 'HTTP/1.1',
): Promise<string> {
  const request = head(
    gateway.url,
    `GET /v1/tasks/${taskId}/${path} ${line}`,
    `Authorization: Bearer ${gateway.token}`,
    'Connection: close',
  )
  return rawExchange(gateway.url, request)
}

const fileOf =
  (answer: (response: ServerResponse) => void): Serve =>
  (request, response) => {
    if (!isPath(request, '/files/page.html')) return false
    answer(response)
    return true
  }

test("an agent's answer cannot set cookies, open origins or run in a browser", async () => {
  const gateway = await startStubGateway()
  const { taskId } = await connectedTask(
    gateway,
    fileOf((response) =>
      response
        .writeHead(200, {
          'content-type': 'text/html',
          'set-cookie': 'session=stolen',
          'access-control-allow-origin': '*',
          'access-control-allow-credentials': 'true',
          'clear-site-data': '"*"',
          'service-worker-allowed': '/',
          'content-security-policy': 'default-src *',
          'x-content-type-options': 'sniff',
          'rclaude-request-id': 'forged',
          location: 'https://evil.example/',
          refresh: '0; url=https://evil.example/',
          'strict-transport-security': 'max-age=0',
          connection: 'close, x-hop',
          'x-hop': 'dropped',
          'x-kept': 'kept',
        })
        .end('<script>alert(1)</script>'),
    ),
  )
  const answer = await askThrough(gateway, taskId)
  expect(statuses(answer)).toEqual([200])
  const [top = ''] = answer.toLowerCase().split('\r\n\r\n', 1)
  expect(top).not.toMatch(
    /set-cookie|access-control|clear-site-data|service-worker|evil\.example|forged|x-hop|strict-transport/,
  )
  expect(top).toContain('\r\nx-kept: kept')
  expect(top.match(/x-content-type-options: .*/g)).toEqual(['x-content-type-options: nosniff'])
  expect(top.match(/content-security-policy: .*/g)).toEqual(["content-security-policy: sandbox; default-src 'none'"])
  expect(answer).toMatch(/<script>/)
})

test("an agent sees who asks, and none of the caller's credentials or claims", async () => {
  const gateway = await startStubGateway()
  let seen: IncomingMessage['headers'] = {}
  const { taskId } = await connectedTask(gateway, (request, response) => {
    if (!isPath(request, '/files/page.html')) return false
    seen = request.headers
    response.end('ok')
    return true
  })
  const response = await fetch(`${gateway.url}/v1/tasks/${taskId}/files/page.html`, {
    headers: {
      authorization: `Bearer ${gateway.token}`,
      cookie: 'session=1',
      'x-forwarded-for': '1.2.3.4',
      forwarded: 'for=1.2.3.4',
      'rclaude-role': 'nobody',
      'rclaude-other': 'forged',
      'rclaude-request-id': 'forged',
      'sec-anything': 'x',
      'if-match': '"kept"',
    },
  })
  const { user } = await gateway.api.call(routes.me)
  expect(seen).toMatchObject({ host: 'agent', 'rclaude-user': user, 'rclaude-role': 'admin', 'if-match': '"kept"' })
  expect(seen['rclaude-request-id']).toBe(response.headers.get('rclaude-request-id'))
  for (const name of ['authorization', 'cookie', 'x-forwarded-for', 'forwarded', 'rclaude-other', 'sec-anything'])
    expect(seen).not.toHaveProperty(name)
  expect(JSON.stringify(seen)).not.toMatch(/forged|rct_|1\.2\.3\.4/)
})

/** An agent below HTTP: it writes what it likes. */
const bytesOf =
  (bytes: string): Serve =>
  (request) => {
    if (!request.url?.startsWith('/files/') && !request.url?.startsWith('/processes/')) return false
    request.socket.end(bytes)
    return true
  }

test.each<[what: string, bytes: string]>([
  ['garbage', '\x00\x01\x02 not HTTP at all\r\n\r\n'],
  ['nothing', ''],
  [
    'an upgrade that nobody asked for',
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
  ],
  ['two framings', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['a header that never ends', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}`],
])('an agent that answers with %s gets a 502 for its own user', async (_what, bytes) => {
  const gateway = await startStubGateway()
  const { taskId } = await connectedTask(gateway, bytesOf(bytes))
  const answer = await askThrough(gateway, taskId)
  expect(statuses(answer)).toEqual([502])
  expect(answer).toContain('"code":"agent_failed"')
  expect((await fetch(`${gateway.url}/healthz`)).status).toBe(200)
})

test('a second answer behind the first reaches nobody', async () => {
  const gateway = await startStubGateway()
  const one = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
  const { taskId } = await connectedTask(gateway, bytesOf(`${one}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother`))
  expect(await askThrough(gateway, taskId)).not.toContain('other')
})

test('trailers that cannot be sent on are left out', async () => {
  const gateway = await startStubGateway()
  const trailed =
    'HTTP/1.1 200 OK\r\nTrailer: X-T, Set-Cookie\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\nSet-Cookie: a=b\r\n\r\n'
  const { taskId } = await connectedTask(gateway, bytesOf(trailed))
  const answer = await askThrough(gateway, taskId)
  expect(answer).toMatch(/ok\r\n0\r\nx-t: 1\r\n\r\n$/i)
  const old = await askThrough(gateway, taskId, 'files/page.html', 'HTTP/1.0')
  expect([statuses(old), old.endsWith('ok')]).toEqual([[200], true])
  const lying = await connectedTask(gateway, bytesOf('HTTP/1.1 200 OK\r\nTrailer: X-T\r\nContent-Length: 2\r\n\r\nok'))
  expect(statuses(await askThrough(gateway, lying.taskId))).toEqual([200])
})

test.each<[what: string, bytes: string]>([
  ['garbage', 'nonsense\r\n\r\n'],
  [
    'a 101 without the right key',
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAA\r\n\r\nSPLICED',
  ],
  [
    'a 101 without any key',
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nSPLICED',
  ],
  ['a 200', 'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nSPLICED'],
  ['a refusal that breaks off', 'HTTP/1.1 401 No\r\nContent-Length: 100\r\n\r\n{"detail":"x'],
  ['a refusal with a forged detail', 'HTTP/1.1 401 No\r\nContent-Length: 27\r\n\r\n{"detail":"SPLI\\r\\nCED: 1"}'],
])('an agent that answers an upgrade with %s gets no splice', async (_what, bytes) => {
  const gateway = await startStubGateway()
  const { taskId } = await connectedTask(gateway, bytesOf(bytes))
  const path = `/v1/tasks/${taskId}/processes/attach?spec=e30`
  const answer = await rawExchange(
    gateway.url,
    head(gateway.url, `GET ${path} HTTP/1.1`, ...WEBSOCKET_HEADERS, `Authorization: Bearer ${gateway.token}`),
  )
  expect(statuses(answer)).toEqual([502])
  expect(answer).not.toContain('SPLICED')
})

/** Sends these bytes as its event log, once; then the stream stays open. */
const eventsOf =
  (bytes: string): Serve =>
  (request, response) => {
    if (!isPath(request, '/events')) return false
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    response.on('error', () => {})
    response.write(bytes)
    return true
  }

const event = (agentSeq: number, body: object = { type: 'warning', message: 'hello' }): string =>
  `${JSON.stringify({ agentSeq, at: '2026-01-01T00:00:00Z', turn: 1, ...body } as unknown as AgentEvent)}\n`

const CHECK_STARTED = { type: 'step', step: 'check', status: 'started' }

test.each<[what: string, bytes: () => string, message: RegExp]>([
  ['a line without end', () => `{"x":"${'x'.repeat(2 * 1024 * 1024)}`, /more than 1\.0 MiB \(limits\.event\)/],
  ['lines that are no JSON', () => 'hello\n', /no JSON/],
  ['an event of an unknown shape', () => event(1, { type: 'warning', message: 1e9 }), /unknown shape/],
  ['a number twice', () => event(1) + event(1), /numbers must grow/],
  ['a negative number', () => event(-1), /unknown shape/],
  [
    'far more of what its outcome hangs on than an honest agent says',
    () => Array.from({ length: 2_000 }, (_, n) => event(n + 1, CHECK_STARTED)).join(''),
    /limits\.events \(16\.0 KiB\) and limits\.eventsReserve \(16\.0 KiB\)/,
  ],
])(
  'an agent whose event log has %s is cut off, its task says why, and the gateway lives',
  async (_what, bytes, message) => {
    const gateway = await startStubGateway({ limits: { event: '1MiB', events: '16KiB', eventsReserve: '16KiB' } })
    const bystander = await connectedTask(gateway)
    const launch = await gateway.launch()
    const tunnel = await dialAs(gateway, { ...launch, credential: newCredential() }, eventsOf(bytes()))
    expect((await tunnel.closed).message).toMatch(/not valid/)
    const task = await eventually('the task is ending', async () => {
      const now = await gateway.getTask(launch.taskId)
      return (now.state === 'finishing' || now.state === 'ended') && now
    })
    expect(task).toMatchObject({ outcome: 'failed', reason: 'internal', message: expect.stringMatching(message) })
    expect(bystander.tunnel.isClosed).toBe(false)
    expect((await gateway.getTask(bystander.taskId)).state).toBe('running')
  },
  40_000,
)

test("an agent cannot fill the gateway's disk with events", async () => {
  const gateway = await startStubGateway({ limits: { events: '64KiB' } })
  const message = 'x'.repeat(1_000)
  const lines = Array.from({ length: 2_000 }, (_, n) => event(n + 1, { type: 'warning', message })).join('')
  const turnEnd = event(2_001, { type: 'checkpoint', commit: 'c0ffee', filesChanged: 1 })
  const { taskId } = await connectedTask(gateway, eventsOf(lines + turnEnd))
  await eventually(
    'the vital event is stored',
    async () => (await gateway.getTask(taskId)).workspace.checkpoint === 'c0ffee',
  )
  const events: Array<{ type: string; count?: number }> = []
  for await (const one of gateway.api.events(taskId)) events.push(one)
  const stored = events.filter(({ type }) => type === 'warning').length
  const lost = events.reduce((sum, { count = 0 }) => sum + count, 0)
  expect(stored).toBeLessThan(1_000)
  expect(stored + lost).toBe(2_000)
  expect(events.filter(({ type }) => type === 'gap').length).toBeLessThan(5)
})
