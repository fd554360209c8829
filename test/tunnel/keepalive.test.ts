import { once } from 'node:events'
import { duplexPair } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { connectWebSocket } from '../../tunnel/connect.ts'
import { duplexTransport } from '../../tunnel/duplex.ts'
import { Flag, FrameType } from '../../tunnel/frame.ts'
import { createTunnel } from '../../tunnel/tunnel.ts'
import { eventually } from '../helpers/eventually.ts'
import { closeOf, joinedOverWebSocket, rawPeer, webSocketServer } from './joined.ts'

describe('keepalive', () => {
  it('finds a relay that went silent without closing, on both ends', async () => {
    const [a, nearRelay] = duplexPair()
    const [farRelay, b] = duplexPair()
    nearRelay.pipe(farRelay).pipe(nearRelay)
    const options = { pingAfterMs: 100, deadAfterMs: 500 }
    const client = createTunnel(duplexTransport(a), { ...options, side: 'client' })
    const server = createTunnel(duplexTransport(b), { ...options, side: 'server' })
    server.onStream(() => {})
    const stream = client.open()
    const streamClosed = closeOf(stream)
    await client.ping()
    await new Promise((resolve) => setTimeout(resolve, 900))
    expect([client.isClosed, server.isClosed]).toEqual([false, false]) // pings kept it alive

    nearRelay.unpipe()
    farRelay.unpipe()
    const startedAt = performance.now()
    const ends = await Promise.all([client.closed, server.closed])
    expect(ends.map((end) => end.kind)).toEqual(['silence', 'silence'])
    expect(ends[0]?.message).toMatch(/^the other side of the tunnel was silent for \d+\.?\d* s$/)
    expect(performance.now() - startedAt).toBeGreaterThan(300)
    expect((await streamClosed)?.code).toBe('TUNNEL_CLOSED')
  })

  it('sends no ping while bytes arrive, but the one at the start that measures the way', async () => {
    const { frames, send } = rawPeer({ pingAfterMs: 1_000, deadAfterMs: 60_000 })
    const pings = () => frames.filter((frame) => frame.type === FrameType.ping && frame.flags === Flag.syn).length
    for (let i = 0; i < 30; i += 1) {
      send({ type: FrameType.ping, flags: Flag.ack, streamId: 0, length: 7 })
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    expect(pings()).toBe(1)
    await eventually('a ping after silence', () => pings() > 1)
  })

  it('gives the peer a chance to speak after our own standstill', async () => {
    const { client, server } = await joinedOverWebSocket({ pingAfterMs: 100, deadAfterMs: 300 })
    await client.ping()
    const until = performance.now() + 800
    while (performance.now() < until); // the event loop stands still
    await client.ping()
    expect([client.isClosed, server.isClosed]).toEqual([false, false])
  })

  it('rejects a ping() that is not answered in time', async () => {
    const { tunnel } = rawPeer({ pingTimeoutMs: 50 })
    await expect(tunnel.ping()).rejects.toMatchObject({ code: 'TUNNEL_PING_TIMEOUT' })
    expect(tunnel.isClosed).toBe(false)
  })
})

describe('a WebSocket as transport', () => {
  it('passes the reason of a close on to the other side', async () => {
    const { client, server } = await joinedOverWebSocket()
    await server.close('the task has ended')
    expect(await client.closed).toEqual({
      kind: 'peer',
      message: 'the other side closed the tunnel: the task has ended',
    })
  })

  it('reports a connection that broke as such', async () => {
    const { url, next } = await webSocketServer()
    const accepted = next()
    const { transport } = await connectWebSocket(url, { signal: AbortSignal.timeout(5_000) })
    const server = createTunnel(await accepted, { side: 'server' })
    transport.destroy('cable pulled')
    expect((await server.closed).kind).toBe('transport')
  })

  it('refuses text messages, which are reserved', async () => {
    const { url, next } = await webSocketServer()
    const accepted = next()
    const ws = new WebSocket(url)
    ws.on('open', () => ws.send('{"ack":1}'))
    const closed = new Promise<number>((resolve) => ws.on('close', resolve))
    const tunnel = createTunnel(await accepted, { side: 'server' })
    expect(await closed).toBe(1003)
    expect((await tunnel.closed).message).toMatch(/text message/)
  })

  it('loses nothing that arrives before the tunnel is created', async () => {
    const { url, next } = await webSocketServer()
    const accepted = next()
    const { transport } = await connectWebSocket(url, { signal: AbortSignal.timeout(5_000) })
    const client = createTunnel(transport, { side: 'client' })
    const pinged = client.ping()
    const late = await accepted
    await new Promise((resolve) => setTimeout(resolve, 50))
    const server = createTunnel(late, { side: 'server' })
    expect(await pinged).toBeGreaterThan(0)
    await server.close('done')
  })

  it('closes within its deadline when the peer does not answer the close', async () => {
    const { url, next } = await webSocketServer()
    const accepted = next()
    const ws = new WebSocket(url)
    ws.on('error', () => {})
    const tunnel = createTunnel(await accepted, { side: 'server' })
    if (ws.readyState !== WebSocket.OPEN) await once(ws, 'open')
    ws.pause() // sees no close frame
    const startedAt = performance.now()
    await tunnel.close('going down')
    expect(performance.now() - startedAt).toBeGreaterThan(1_900)
    expect(performance.now() - startedAt).toBeLessThan(10_000)
    ws.terminate()
  })
})
