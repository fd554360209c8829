import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage, type RequestListener } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { requestOver, serveStreams, tunnelOf } from '../../tunnel/http.ts'
import { OWN_PEER } from '../../tunnel/tunnel.ts'
import { eventually } from '../helpers/eventually.ts'
import { closeOf, joinedOverWebSocket, type Pair, readAll } from './joined.ts'

/** A pair of tunnel ends whose server side answers HTTP; the server listens on no port. */
async function serving(
  listener: RequestListener,
  options: http.ServerOptions = {},
): Promise<Pair & { app: http.Server }> {
  const pair = await joinedOverWebSocket({ ...OWN_PEER, remoteAddress: '192.0.2.1' })
  const app = http.createServer(options, listener)
  serveStreams(pair.server, app)
  onTestFinished(() => void app.close())
  return { ...pair, app }
}

async function responseTo(request: http.ClientRequest): Promise<IncomingMessage> {
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return response
}

async function text(response: IncomingMessage): Promise<string> {
  return (await readAll(response)).toString()
}

describe('HTTP over streams', () => {
  it('answers a GET on a fresh stream and closes it afterwards', async () => {
    const { client, server } = await serving((request, response) => {
      response.setHeader(
        'x-seen',
        `${request.method} ${request.url} ${request.headers.host} ${request.headers.connection}`,
      )
      response.end(`${request.socket.remoteAddress} ${tunnelOf(request.socket) === server}`)
    })
    const request = requestOver(client.open(), { path: '/v1/health?deep=1', headers: { host: 'agent' } })
    request.end()
    const response = await responseTo(request)
    expect(response.headers['x-seen']).toBe('GET /v1/health?deep=1 agent close')
    expect(await text(response)).toBe('192.0.2.1 true')
    await eventually('no stream is left', () => client.streams + server.streams === 0)
  })

  it('uploads 50 MB intact while the server reads at its own pace', async () => {
    const { client } = await serving(async (request, response) => {
      const hash = createHash('sha256')
      let chunks = 0
      for await (const bytes of request) {
        hash.update(bytes)
        if (++chunks % 200 === 0) await new Promise((resolve) => setTimeout(resolve, 5))
      }
      response.end(hash.digest('hex'))
    })
    const block = randomBytes(1_000_000)
    const hash = createHash('sha256')
    const request = requestOver(client.open(), { method: 'POST', path: '/upload' })
    const answered = responseTo(request)
    async function* body() {
      for (let i = 0; i < 50; i += 1) {
        block.writeUInt32BE(i, 0)
        const bytes = Buffer.from(block)
        hash.update(bytes)
        yield bytes
      }
    }
    await pipeline(Readable.from(body()), request)
    expect(await text(await answered)).toBe(hash.digest('hex'))
  })

  it('downloads a body without a length, which ends with the connection, completely', async () => {
    const data = randomBytes(3_000_000)
    const { client } = await serving((_request, response) => {
      response.useChunkedEncodingByDefault = false
      response.write(data.subarray(0, 1_000))
      response.end(data.subarray(1_000))
    })
    const request = requestOver(client.open(), { path: '/' }).end()
    const response = await responseTo(request)
    expect(response.headers['transfer-encoding']).toBeUndefined()
    await new Promise((resolve) => setTimeout(resolve, 50)) // most of it waits for us
    expect((await readAll(response)).equals(data)).toBe(true)
  })

  it('delivers server-sent events one by one, and tells the server when the client goes', async () => {
    let aborted = false
    let say: (n: number) => void = () => {}
    const { client } = await serving((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      say = (n) => void response.write(`data: ${n}\n\n`)
      say(0)
      response.on('close', () => {
        aborted = true
      })
    })
    const request = requestOver(client.open(), { path: '/events' }).end()
    const response = await responseTo(request)
    const events: string[] = []
    for await (const bytes of response) {
      // The next one is said only when this one has come: none waits for another, none is merged with it.
      if (events.push(bytes.toString()) === 3) break
      say(events.length)
    }
    expect(events).toEqual(['data: 0\n\n', 'data: 1\n\n', 'data: 2\n\n'])
    await eventually('the server saw the abort', () => aborted)
    await eventually('no stream is left', () => client.streams === 0)
  })

  it('upgrades to a WebSocket through a stream, both ends being the ws package', async () => {
    const { client, app } = await serving(() => {})
    const wss = new WebSocketServer({ noServer: true })
    app.on('upgrade', (request, socket, head) => {
      wss.handleUpgrade(request, socket, head, (ws) =>
        ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary })),
      )
    })
    const stream = client.open()
    const ws = new WebSocket('ws://agent/attach', { createConnection: () => stream as never })
    await once(ws, 'open')
    const data = randomBytes(500_000)
    ws.send(data)
    const [echo] = (await once(ws, 'message')) as [Buffer]
    expect(echo.equals(data)).toBe(true)
    ws.close()
    await once(ws, 'close')
    await eventually('no stream is left', () => client.streams === 0)
  })

  it('answers one request while another stalls with a full window', async () => {
    const { client } = await serving((request, response) => {
      if (request.url === '/bulk') Readable.from(endless()).pipe(response)
      else response.end('quick')
    })
    const stalled = await responseTo(requestOver(client.open(), { path: '/bulk' }).end())
    stalled.pause()
    for (let i = 0; i < 20; i += 1) {
      const request = requestOver(client.open(), { path: `/${i}` }).end()
      expect(await text(await responseTo(request))).toBe('quick')
    }
    stalled.destroy()
    await eventually('no stream is left', () => client.streams === 0)
  })

  it('enforces header time-outs although the server never listens', async () => {
    const { client } = await serving(() => {}, {
      headersTimeout: 100,
      requestTimeout: 200,
      connectionsCheckingInterval: 50,
    })
    const stream = client.open()
    stream.write('GET / HTTP/1.1\r\nHost: slow')
    expect((await readAll(stream)).toString()).toMatch(/^HTTP\/1\.1 408/)
  })

  it('answers what is not HTTP with 400 and oversized headers with 431', async () => {
    const { client } = await serving(() => {}, { maxHeaderSize: 1_000 })
    const noise = client.open()
    noise.write('hello there\r\n\r\n')
    expect((await readAll(noise)).toString()).toMatch(/^HTTP\/1\.1 400/)
    const big = client.open()
    big.write(`GET / HTTP/1.1\r\nHost: a\r\nX-Big: ${'x'.repeat(2_000)}\r\n\r\n`)
    expect((await readAll(big)).toString()).toMatch(/^HTTP\/1\.1 431/)
    await eventually('no stream is left', () => client.streams === 0)
  })

  it("closes an idle keep-alive connection by the stream's time-out", async () => {
    const { client, app } = await serving((_request, response) => void response.end('x'))
    app.keepAliveTimeout = 100
    const stream = client.open()
    stream.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    const [answer] = await once(stream, 'data')
    expect(String(answer)).toMatch(/Connection: keep-alive/)
    expect((await closeOf(stream))?.code).toBe('ECONNRESET')
  })

  it('gives an early answer to a client that still uploads', async () => {
    const { client } = await serving((_request, response) => {
      response.writeHead(413, { connection: 'close' })
      response.end('too big')
    })
    const request = requestOver(client.open(), { method: 'PUT', path: '/' })
    request.on('error', () => {}) // the upload itself is cut off, which may show
    const answered = responseTo(request)
    Readable.from(endless()).pipe(request)
    const response = await answered
    expect(response.statusCode).toBe(413)
    expect(await text(response)).toBe('too big')
    await eventually('no stream is left', () => client.streams === 0)
  })

  it('fails requests with an error when the tunnel closes', async () => {
    const { client, server } = await serving(() => {})
    const request = requestOver(client.open(), { path: '/' }).end()
    const failed = once(request, 'error').catch((error: Error) => [error])
    await eventually('the request is there', () => server.streams === 1)
    await server.close('restart')
    expect((await failed)[0]).toMatchObject({ code: 'TUNNEL_CLOSED' })
  })

  it('serves 200 requests in parallel', async () => {
    const { client } = await serving((request, response) => void response.end(request.url))
    const answers = Array.from({ length: 200 }, async (_, i) => {
      const request = requestOver(client.open(), { path: `/${i}` }).end()
      return text(await responseTo(request))
    })
    expect(await Promise.all(answers)).toEqual(Array.from({ length: 200 }, (_, i) => `/${i}`))
  })
})

function* endless(): Generator<Buffer> {
  for (;;) yield Buffer.alloc(64 * 1024)
}
