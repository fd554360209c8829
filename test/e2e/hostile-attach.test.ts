/**
 * A client that breaks the rules on an attached process, where the gateway moves bytes and parses nothing: garbage, floods
 * against a side that does not read, connections that come and go. It reaches its own process and fills nobody's memory.
 */
import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { encodeHeader, FrameType, GoAwayCode } from '../../tunnel/frame.ts'
import { eventually } from '../helpers/eventually.ts'
import { watchHealth } from '../helpers/health.ts'
import { head, rawConnection, WEBSOCKET_HEADERS } from '../helpers/raw.ts'
import { rawWebSocket, webSocketFrame } from '../helpers/raw-websocket.ts'
import { dialAs, newCredential, type StubGateway, startStubGateway } from '../helpers/stub-gateway.ts'

interface Attached {
  gateway: StubGateway
  taskId: string
  /** The agent's end of each attachment, in their order; it is paused. */
  streams: Duplex[]
  path: string
  headers: string[]
}

/** A gateway with an agent that takes every attachment, and then does nothing. */
async function attachable(answers = true): Promise<Attached> {
  const gateway = await startStubGateway()
  const streams: Duplex[] = []
  const launch = await gateway.launch()
  await dialAs(gateway, { ...launch, credential: newCredential() }, undefined, (request, stream) => {
    stream.pause().on('error', () => {})
    // As the agent's own WebSocket does when the other side has ended.
    stream.once('end', () => stream.end())
    if (answers) stream.write(acceptance(request))
    streams.push(stream)
    onTestFinished(() => void stream.destroy())
  })
  await eventually('the task runs', async () => (await gateway.getTask(launch.taskId)).state === 'running')
  const path = `/v1/tasks/${launch.taskId}/processes/attach?spec=e30`
  const headers = [`Authorization: Bearer ${gateway.token}`]
  return { gateway, taskId: launch.taskId, streams, path, headers }
}

function acceptance(request: IncomingMessage): string {
  const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
  const accept = createHash('sha1').update(key).digest('base64')
  return `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`
}

test("a client's garbage after the handshake reaches its own process and nobody else", async () => {
  const { gateway, taskId, streams, path, headers } = await attachable()
  const attached = await rawWebSocket(gateway.url, path, headers)
  const garbage = Buffer.concat([
    encodeHeader({ type: FrameType.goAway, flags: 0, streamId: 0, length: GoAwayCode.protocolError }),
    Buffer.from(`GET /v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${gateway.token}\r\n\r\n`),
    webSocketFrame('x', { rsv: 7, masked: false, length: 2n ** 63n }),
    randomBytes(300_000),
  ])
  attached.connection.socket.write(garbage)
  const stream = await eventually('the agent has it', () => streams[0])
  const received: Buffer[] = []
  stream.on('data', (bytes: Buffer) => received.push(bytes)).resume()
  await eventually('all of it came', () => Buffer.concat(received).length === garbage.length)
  expect(Buffer.concat(received).equals(garbage)).toBe(true)
  // And the same the other way.
  stream.write(garbage)
  const size = garbage.length
  await eventually(
    'all of it came back',
    () => attached.connection.received.split('\r\n\r\n').slice(1).join('\r\n\r\n').length >= size,
  )
  attached.connection.socket.resetAndDestroy()
  await eventually('the agent hears of it', () => stream.destroyed)
  expect((await gateway.getTask(taskId)).state).toBe('running')
  expect(gateway.log().includes('request failed')).toBe(false)
})

/** What a connection takes before it stops taking. */
async function pushed(socket: Duplex & { bytesWritten: number }, limit: number): Promise<number> {
  const piece = randomBytes(256 * 1024)
  let stalledSince = performance.now()
  let last = 0
  while (socket.bytesWritten < limit && performance.now() - stalledSince < 1_500) {
    if (!socket.writableNeedDrain) socket.write(piece)
    if (socket.bytesWritten > last) stalledSince = performance.now()
    last = socket.bytesWritten
    await sleep(socket.writableNeedDrain ? 5 : 0)
  }
  // What Node itself still holds on our side was not taken.
  return socket.bytesWritten - socket.writableLength
}

/** The kernel's buffers on loopback take about 6 MB each way; the rest is ours. */
const MAX_TAKEN_BYTES = 24 * 1024 * 1024
const PUSHED_BYTES = 200 * 1024 * 1024

test('a client that sends without end to a process that does not read is slowed down, not stored', async () => {
  const { gateway, path, headers } = await attachable()
  const { connection } = await rawWebSocket(gateway.url, path, headers)
  const health = watchHealth(gateway)
  expect(await pushed(connection.socket, PUSHED_BYTES)).toBeLessThan(MAX_TAKEN_BYTES)
  await health.expectGood()
}, 60_000)

test('a client that sends without end before its handshake is answered is not stored either', async () => {
  const { gateway, path, headers } = await attachable(false)
  const connection = await rawConnection(gateway.url)
  connection.send(head(gateway.url, `GET ${path} HTTP/1.1`, ...WEBSOCKET_HEADERS, ...headers))
  const health = watchHealth(gateway)
  expect(await pushed(connection.socket, PUSHED_BYTES)).toBeLessThan(MAX_TAKEN_BYTES)
  await health.expectGood()
}, 60_000)

test('a process that sends without end to a client that does not read is slowed down, not stored', async () => {
  const { gateway, streams, path, headers } = await attachable()
  const { connection } = await rawWebSocket(gateway.url, path, headers)
  connection.socket.pause()
  const stream = await eventually('the agent has it', () => streams[0])
  if (!('bytesWritten' in stream) || typeof stream.bytesWritten !== 'number') throw new Error('this is no socket')
  const health = watchHealth(gateway)
  expect(await pushed(stream as Duplex & { bytesWritten: number }, PUSHED_BYTES)).toBeLessThan(MAX_TAKEN_BYTES)
  await health.expectGood()
}, 60_000)

test('300 attachments that come and go at every stage leave no stream behind', async () => {
  const { gateway, streams, path, headers } = await attachable()
  const health = watchHealth(gateway)
  for (let n = 0; n < 300; n += 1) {
    const connection = await rawConnection(gateway.url)
    connection.send(head(gateway.url, `GET ${path} HTTP/1.1`, ...WEBSOCKET_HEADERS, ...headers))
    if (n % 3 === 1) await connection.until(/101/)
    if (n % 3 === 2) connection.socket.write(randomBytes(1_000))
    if (n % 2 === 0) connection.socket.resetAndDestroy()
    else connection.socket.destroy()
  }
  await health.expectGood()
  // Read within the wait: the last of them may come to the agent only now.
  await eventually('all are gone', () => streams.every((stream) => stream.resume().destroyed))
  expect(streams.length).toBeGreaterThan(100)
}, 60_000)
