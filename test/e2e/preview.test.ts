/** Previews: a dev server of a task in the browser, on its own origin, for who was let in and nobody else. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { routes } from '../../protocol/routes.ts'
import { idleTask, serve, startForwardingWorld } from '../helpers/forwarding.ts'
import { freePort } from '../helpers/free-port.ts'
import { enter, startDevServer, ticketFor, visit } from '../helpers/previews.ts'
import { rawConnection, rawExchange, statuses } from '../helpers/raw.ts'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { startWorld } from '../helpers/world.ts'

test('a dev server is seen as by a browser on its own machine, without anything of ours', async () => {
  const { world, taskId } = await startForwardingWorld()
  const seen: IncomingMessage[] = []
  const { port } = await startDevServer((incoming, response) => {
    seen.push(incoming)
    response.setHeader('set-cookie', [
      'a=1; Domain=localhost; Path=/',
      '__Host-rclaude-preview=stolen; Path=/; Secure',
      '=__Host-rclaude-preview=stolen; Path=/; Secure',
      '__host-RCLAUDE-preview=stolen; Path=/; Secure',
      'rclaude-preview=stolen; Path=/',
    ])
    response.setHeader('location', `http://localhost:${port}/next?x#y`)
    response.setHeader('clear-site-data', '"*"')
    response.setHeader('strict-transport-security', 'max-age=1')
    response.setHeader('service-worker-allowed', '/')
    incoming.pipe(response)
  })
  const { origin, cookie } = await enter(world, taskId, port)
  const answer = await visit(world, `${origin}/@fs/x//a%2Fb?x=http://y`, {
    method: 'POST',
    body: 'what was sent',
    headers: {
      cookie: `b=2; ${cookie}; c=3`,
      origin,
      referer: `${origin}/page?q`,
      authorization: `Bearer ${world.adminToken}`,
      'x-forwarded-for': '1.2.3.4',
      'x-forwarded-host': 'evil.example',
      'rclaude-user': 'root',
      'x-own': 'kept',
      'sec-fetch-site': 'same-origin',
    },
  })
  expect(answer).toMatchObject({ status: 200, body: 'what was sent' })
  expect(seen[0]?.url).toBe('/@fs/x//a%2Fb?x=http://y')
  expect(seen[0]?.headers).toEqual({
    host: `localhost:${port}`,
    origin: `http://localhost:${port}`,
    referer: `http://localhost:${port}/page?q`,
    cookie: 'b=2; c=3',
    'x-own': 'kept',
    'sec-fetch-site': 'same-origin',
    'content-length': '13',
    connection: 'close',
  })
  expect(answer.headers).toMatchObject({
    'set-cookie': ['a=1; Path=/'],
    location: '/next?x#y',
    'service-worker-allowed': '/',
  })
  for (const name of ['clear-site-data', 'strict-transport-security']) expect(answer.headers).not.toHaveProperty(name)
  // An application's own tokens are its business.
  await visit(world, `${origin}/api`, { headers: { cookie, authorization: 'Bearer of-the-app' } })
  expect(seen[1]?.headers).toMatchObject({ authorization: 'Bearer of-the-app' })
  expect(seen[1]?.headers).not.toHaveProperty('cookie')
})

test('a ticket lets one browser in, once, to its own preview; the session is for that one alone', async () => {
  const { world, taskId } = await startForwardingWorld()
  const { port } = await startDevServer((_, response) => response.end('inside'))
  const other = await startDevServer((_, response) => response.end('other'))
  const { origin, url, cookie } = await enter(world, taskId, port)
  expect(await visit(world, `${origin}/`, { headers: { cookie } })).toMatchObject({ status: 200, body: 'inside' })
  const again = await visit(world, url, { headers: { accept: 'text/html' } })
  expect(again).toMatchObject({ status: 401, body: expect.stringContaining('was used already') })
  expect(again.body).toContain(`rclaude preview ${taskId} ${port}`)
  expect(again.headers['www-authenticate']).toBeUndefined() // no password box

  const second = await ticketFor(world, taskId, other.port)
  const misused = second.url.replace(second.origin, origin)
  expect((await visit(world, misused)).status).toBe(401)
  expect((await visit(world, second.url)).status).toBe(401) // and is worth nothing any more
  for (const headers of [
    {},
    { cookie: 'a=1' },
    { cookie: `${cookie}x` },
    { cookie: cookie.replace('=', '=x') },
    { cookie: 'rclaude-preview=.' },
    { cookie: cookie.replace('rclaude', '__Host-rclaude') },
    { authorization: `Bearer ${world.adminToken}` },
  ] as Record<string, string>[])
    expect([headers, (await visit(world, `${origin}/`, { headers })).status]).toEqual([headers, 401])
  expect((await visit(world, `${second.origin}/`, { headers: { cookie } })).status).toBe(401)
  // Looking ahead does not use it up, opening does.
  const third = await ticketFor(world, taskId, port)
  expect((await visit(world, third.url, { headers: { 'sec-purpose': 'prefetch' } })).status).toBe(400)
  expect((await visit(world, third.url, { method: 'HEAD' })).status).toBe(400)
  expect((await visit(world, third.url)).status).toBe(303)
  const { rows } = await world.api().call(routes.listAudit, { query: { taskId } })
  expect(rows.map(({ action }) => action)).toEqual(expect.arrayContaining(['preview.open', 'preview.enter']))
  expect(JSON.stringify(rows)).not.toContain('ticket')
})

test('hot reload works: a WebSocket of the dev server, its extensions included', async () => {
  const { world, taskId } = await startForwardingWorld()
  const { port, hot } = await startDevServer((_, response) => response.end('page'))
  let handshake: IncomingHttpHeaders = {}
  hot.on('connection', (socket, incoming) => {
    handshake = incoming.headers
    socket.send('connected')
    socket.on('message', (data) =>
      socket.send(
        `update ${createHash('sha256')
          .update(data as Buffer)
          .digest('hex')}`,
      ),
    )
  })
  const { origin, cookie } = await enter(world, taskId, port)
  const open = (headers: Record<string, string>) =>
    new WebSocket(`ws://127.0.0.1:${new URL(world.url).port}/?token=x`, ['vite-hmr'], {
      headers: { host: new URL(origin).host, ...headers },
    })
  const socket = open({ cookie, origin })
  onTestFinished(() => socket.terminate())
  const [hello] = await once(socket, 'message')
  expect(String(hello)).toBe('connected')
  expect([socket.protocol, socket.extensions]).toEqual(['vite-hmr', expect.stringContaining('permessage-deflate')])
  expect(handshake).toMatchObject({ host: `localhost:${port}`, origin: `http://localhost:${port}` })
  expect(handshake.cookie).toBeUndefined()
  const big = Buffer.alloc(1024 * 1024, 'x')
  socket.send(big)
  const [update] = await once(socket, 'message')
  expect(String(update)).toBe(`update ${createHash('sha256').update(big).digest('hex')}`)

  const refusalOf = async (headers: Record<string, string>) => {
    const refused = open(headers)
    refused.on('error', () => {})
    const [, response] = (await once(refused, 'unexpected-response')) as [unknown, IncomingMessage]
    response.resume()
    return response.statusCode
  }
  expect(await refusalOf({ origin })).toBe(401)
  expect(await refusalOf({ cookie, origin: 'http://evil.example' })).toBe(403)
  expect(await refusalOf({ cookie, origin: world.url })).toBe(403)
})

test('pages of other origins, other previews included, get nothing; a link does', async () => {
  const { world, taskId } = await startForwardingWorld()
  let asked = 0
  const { port } = await startDevServer((_, response) => {
    asked += 1
    response.end('inside')
  })
  const { origin, cookie } = await enter(world, taskId, port)
  const sibling = origin.replace(String(port), '4000')
  const refused: Record<string, string>[] = [
    { origin: sibling },
    { origin: 'null' },
    { origin: 'http://evil.example', 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' },
    { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' },
  ]
  for (const headers of refused)
    expect([headers, (await visit(world, `${origin}/`, { headers: { cookie, ...headers } })).status]).toEqual([
      headers,
      403,
    ])
  const link = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }
  const post = await visit(world, `${origin}/`, { method: 'POST', headers: { cookie, ...link } })
  expect(post.status).toBe(403)
  expect(asked).toBe(0)
  expect((await visit(world, `${origin}/`, { headers: { cookie, ...link } })).status).toBe(200)
})

test('the API answers on no preview host, and no preview on any other', async () => {
  const { world, taskId } = await startForwardingWorld()
  const { port } = await startDevServer((incoming, response) => response.end(`dev server ${incoming.url}`))
  const { origin, cookie, url } = await enter(world, taskId, port)
  const authorization = `Bearer ${world.adminToken}`
  for (const path of ['/v1/me', '/health', '/openapi.json', `/v1/tasks/${taskId}`]) {
    expect((await visit(world, `${origin}${path}`, { headers: { authorization } })).status).toBe(401)
    expect((await visit(world, `${origin}${path}`, { headers: { cookie, authorization } })).body).toBe(
      `dev server ${path}`,
    )
  }
  const { port: gatewayPort } = new URL(world.url)
  const id = taskId.slice('task_'.length)
  for (const host of [
    `x.localhost`,
    `${port}--${id}.example.org`,
    `0${port}--${id}.localhost`,
    `70000--${id}.localhost`,
  ])
    expect([host, (await visit(world, `http://${host}:${gatewayPort}/`, { headers: { cookie } })).status]).toEqual([
      host,
      403,
    ])
  const onApi = url.replace(origin, world.url)
  expect((await visit(world, onApi)).status).toBe(404)
  const never = `http://${port}--222222222222.localhost:${gatewayPort}/`
  expect((await visit(world, never, { headers: { cookie } })).status).toBe(401)
})

test('a port without a server is told with those that listen, as a page that looks again', async () => {
  const { world, taskId } = await startForwardingWorld()
  const port = await freePort()
  const { origin, cookie } = await enter(world, taskId, port)
  const page = await visit(world, `${origin}/`, { headers: { cookie, accept: 'text/html' } })
  expect(page).toMatchObject({
    status: 502,
    body: expect.stringContaining(`nothing listens on port ${port} of the task`),
  })
  expect(page.headers).toMatchObject({ refresh: '3', 'content-security-policy': expect.stringContaining("'none'") })
  const plain = await visit(world, `${origin}/api`, { headers: { cookie } })
  expect(plain).toMatchObject({ status: 502, body: `nothing listens on port ${port} of the task\n` })
  const mute = await serve((socket) => socket.end('220 not HTTP\r\n'))
  const wrong = await enter(world, taskId, mute)
  expect(await visit(world, `${wrong.origin}/`, { headers: { cookie: wrong.cookie } })).toMatchObject({ status: 502 })
  await world.api().call(routes.stopTask, { params: { taskId }, body: {} })
  await world.ended(taskId)
  const gone = await visit(world, `${origin}/`, { headers: { cookie, accept: 'text/html' } })
  expect(gone).toMatchObject({ status: 410, body: expect.stringContaining('The task has ended') })
})

test('revoked, taken back or restarted: only a restart of the gateway leaves a browser in', {
  timeout: 60_000,
}, async () => {
  const world = await startWorld()
  stopTasksAfterwards(world)
  const make = (user: string) => world.api().call(routes.createToken, { body: { name: user, user, role: 'member' } })
  const [alice, bob] = await Promise.all([make('alice'), make('bob')])
  const taskId = await idleTask(world, { token: alice.secret })
  const { port } = await startDevServer((incoming, response) => {
    response.write('begun')
    if (incoming.url !== '/for-ever') response.end()
  })
  await expect(ticketFor(world, taskId, port, '/', bob.secret)).rejects.toMatchObject({ code: 'not_found' })
  const share = (access: 'read' | 'write') =>
    world.api(alice.secret).call(routes.share, { params: { taskId, user: 'bob' }, body: { access } })
  await share('read')
  await expect(ticketFor(world, taskId, port, '/', bob.secret)).rejects.toMatchObject({ code: 'forbidden' })
  await share('write')
  const ofBob = await enter(world, taskId, port, bob.secret)
  const ofAlice = await enter(world, taskId, port, alice.secret)
  await world.killGateway('SIGKILL')
  await world.startGateway()
  const look = ({ origin, cookie }: { origin: string; cookie: string }, path = '/') =>
    visit(world, `${origin}${path}`, { headers: { cookie } })
  expect((await look(ofAlice)).status).toBe(200)
  expect((await look(ofBob)).status).toBe(200)

  const endless = look(ofBob, '/for-ever').catch((error: Error) => error.message)
  const startedAt = performance.now()
  await world.api(alice.secret).call(routes.unshare, { params: { taskId, user: 'bob' } })
  expect(await endless).toMatch(/aborted|hang up|RESET/i)
  expect(performance.now() - startedAt).toBeLessThan(5_000)
  expect((await look(ofBob)).status).toBe(404)
  await world.api().call(routes.revokeToken, { params: { tokenId: alice.token.id } })
  expect((await look(ofAlice)).status).toBe(401)
})

test('bytes that two parsers could read differently reach no dev server, and a hostile one reaches nobody else', async () => {
  const { world, taskId } = await startForwardingWorld()
  const seen: string[] = []
  const { port } = await startDevServer((incoming, response) => {
    seen.push(`${incoming.method} ${incoming.url}`)
    response.end('ok')
  })
  const { origin, cookie } = await enter(world, taskId, port)
  const head = (line: string, ...headers: string[]) =>
    `${[line, `Host: ${new URL(origin).host}`, `Cookie: ${cookie}`, 'Connection: close', ...headers].join('\r\n')}\r\n\r\n`
  const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n'
  for (const framing of [
    ['Content-Length: 4', 'Transfer-Encoding: chunked'],
    ['Content-Length: 0', `Content-Length: ${smuggled.length}`],
    ['Transfer-Encoding : chunked'],
    ['Transfer-Encoding: xchunked'],
  ])
    expect(statuses(await rawExchange(world.url, head('POST / HTTP/1.1', ...framing) + smuggled))).toEqual([400])
  expect(statuses(await rawExchange(world.url, head('GET http://localhost/ HTTP/1.1')))).toEqual([400])
  const inBody = await rawExchange(
    world.url,
    head('GET /body HTTP/1.1', `Content-Length: ${smuggled.length}`) + smuggled,
  )
  expect(statuses(inBody)).toEqual([200])
  const h2c = head('GET /h2c HTTP/1.1', 'Upgrade: h2c').replace('Connection: close', 'Connection: Upgrade')
  expect(statuses(await rawExchange(world.url, h2c))).toEqual([415])
  expect(seen).toEqual(['GET /body'])

  const second = 'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsmuggled'
  for (const bytes of [
    `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok${second}`,
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfree bytes',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok',
    'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n',
    `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(100_000)}\r\n\r\n`,
  ]) {
    const hostile = await serve((socket) => socket.once('data', () => socket.end(bytes)))
    const own = await enter(world, taskId, hostile)
    const connection = await rawConnection(world.url)
    const line = `Host: ${new URL(own.origin).host}\r\nCookie: ${own.cookie}\r\n`
    connection.send(`GET / HTTP/1.1\r\n${line}\r\n`)
    await connection.until(/\r\n\r\n/)
    connection.send(`GET /again HTTP/1.1\r\n${line}Connection: close\r\n\r\n`)
    const all = await connection.closed()
    expect(all).not.toContain('smuggled')
    expect(all).not.toContain('free bytes')
  }
  expect(world.gatewayLog).not.toContain('request failed') // a hostile server is no fault of ours
})

test('a gateway does not start with previews whose cookies no browser would keep', async () => {
  const broken = await startWorld({ settings: { RCLAUDE_PREVIEWS__DOMAIN: 'preview.example.org' } }).catch(
    (error: Error) => error.message,
  )
  expect(broken).toContain('previews.domain is preview.example.org, whose cookies need https')
})
