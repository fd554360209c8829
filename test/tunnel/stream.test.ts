import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { pipeline } from 'node:stream/promises'
import { describe, expect, it } from 'vitest'
import type { TunnelStream } from '../../tunnel/stream.ts'
import { OWN_PEER } from '../../tunnel/tunnel.ts'
import { eventually } from '../helpers/eventually.ts'
import { closeOf, joinedInMemory, joinedOverWebSocket, type Options, type Pair, readAll } from './joined.ts'

const transports: [string, (options?: Options) => Pair | Promise<Pair>][] = [
  ['in memory', (options) => joinedInMemory(options)],
  ['over a WebSocket', (options) => joinedOverWebSocket(options)],
  ['in memory, cut into odd pieces', (options) => joinedInMemory(options, options, oddCuts())],
]

function oddCuts(): () => number {
  const cuts = [1, 13, 7, 1460, 2, 11, 12, 3000]
  let next = 0
  return () => cuts[next++ % cuts.length] ?? 1
}

/** Opens a stream and waits for the other end of it. */
async function openBoth({ client, server }: Pair): Promise<{ near: TunnelStream; far: TunnelStream }> {
  const accepted = new Promise<TunnelStream>((resolve) => server.onStream(resolve))
  const near = client.open()
  return { near, far: await accepted }
}

describe.each(transports)('a stream %s', (_name, join) => {
  it('carries bytes both ways unchanged', async () => {
    const pair = await join(OWN_PEER)
    pair.server.onStream((stream) => stream.pipe(stream))
    const data = randomBytes(1_500_000)
    const stream = pair.client.open()
    stream.end(data)
    expect(sha(await readAll(stream))).toBe(sha(data))
    await eventually('streams are gone', () => pair.client.streams + pair.server.streams === 0)
  })

  it('can be opened by either side', async () => {
    const pair = await join()
    pair.client.onStream((stream) => stream.end(`client got ${stream.id}`))
    const stream = pair.server.open()
    stream.end()
    expect((await readAll(stream)).toString()).toBe('client got 2')
  })

  it('goes on reading after end(), and writing after the peer ended', async () => {
    const { near, far } = await openBoth(await join())
    near.end('question')
    expect((await readAll(far)).toString()).toBe('question')
    expect(far.writable).toBe(true)
    far.write('answer ')
    await new Promise((resolve) => setTimeout(resolve, 20))
    far.end('in two parts')
    expect((await readAll(near)).toString()).toBe('answer in two parts')
  })

  it('can end before a byte was sent, on both sides', async () => {
    const pair = await join()
    const { near, far } = await openBoth(pair)
    near.end()
    far.end()
    expect((await readAll(near)).length + (await readAll(far)).length).toBe(0)
    await eventually('streams are gone', () => pair.client.streams + pair.server.streams === 0)
  })

  it('tells the peer of destroy() with ECONNRESET, and leaves nothing', async () => {
    const pair = await join()
    const { near, far } = await openBoth(pair)
    const farClosed = closeOf(far)
    far.resume()
    near.write('x')
    await once(far, 'data')
    near.destroy()
    expect((await farClosed)?.code).toBe('ECONNRESET')
    expect(pair.client.streams + pair.server.streams).toBe(0)
  })

  it('lets the reader finish what was sent completely before the peer destroyed its end', async () => {
    const pair = await join()
    const { near, far } = await openBoth(pair)
    const data = randomBytes(50_000)
    far.write(data)
    far.destroySoon() // FIN, then RST as we have not ended: what Node's http server does after its last response
    await eventually('the far end is gone', () => far.destroyed)
    await eventually('the reset is here', () => pair.client.streams === 0)
    expect(sha(await readAll(near))).toBe(sha(data))
    await eventually('the near end is closed', () => near.destroyed)
    expect(near.errored).toBeNull()
  })

  it('gets TUNNEL_CLOSED when the tunnel closes, on both ends', async () => {
    const pair = await join()
    const { near, far } = await openBoth(pair)
    const ends = [closeOf(near), closeOf(far)]
    await pair.server.close('gateway is restarting')
    for (const end of ends) expect((await end)?.code).toBe('TUNNEL_CLOSED')
    expect(await pair.server.closed).toEqual({ kind: 'local', message: 'gateway is restarting' })
    expect((await pair.client.closed).kind).toBe('peer')
    expect(() => pair.client.open()).toThrow(expect.objectContaining({ code: 'TUNNEL_CLOSED' }))
    await expect(pair.client.ping()).rejects.toMatchObject({ code: 'TUNNEL_CLOSED' })
  })

  it('measures round trips with ping()', async () => {
    const pair = await join()
    const times = await Promise.all([pair.client.ping(), pair.server.ping(), pair.client.ping()])
    for (const ms of times) expect(ms).toBeGreaterThanOrEqual(0)
  })
})

describe('a tunnel', () => {
  it('hands over streams that were opened before onStream was called', async () => {
    const { client, server } = joinedInMemory()
    const stream = client.open()
    stream.end('early')
    await eventually('the stream is there', () => server.streams === 1)
    server.onStream((late) => late.pipe(late))
    expect((await readAll(stream)).toString()).toBe('early')
  })

  it('leaves nothing behind after 10,000 streams, whatever way they ended', async () => {
    const { client, server } = joinedInMemory(OWN_PEER)
    server.onStream((stream) => {
      if (stream.id % 3 === 0) stream.destroy()
      else stream.pipe(stream)
    })
    for (let round = 0; round < 100; round += 1) {
      const closed = Array.from({ length: 100 }, (_, index) => {
        const stream = client.open()
        stream.resume()
        if (index % 5 === 0) stream.destroy()
        else stream.end('hello')
        return closeOf(stream)
      })
      await Promise.all(closed)
    }
    await eventually('all streams are gone', () => client.streams + server.streams === 0)
  })

  it('refuses streams beyond its cap with RST and accepts again when others have ended', async () => {
    const { client, server } = joinedInMemory({}, { maxIncomingStreams: 2 })
    server.onStream((stream) => stream.pipe(stream))
    const first = client.open()
    const second = client.open()
    expect((await closeOf(client.open()))?.code).toBe('TUNNEL_STREAM_REFUSED')
    first.end()
    await readAll(first)
    await eventually('the first is gone', () => server.streams === 1)
    const fourth = client.open()
    fourth.end('welcome')
    expect((await readAll(fourth)).toString()).toBe('welcome')
    second.destroy()
  })

  it('refuses to open more streams than it may', () => {
    const { client } = joinedInMemory({ maxOutgoingStreams: 1 })
    client.open()
    expect(() => client.open()).toThrow(expect.objectContaining({ code: 'TUNNEL_TOO_MANY_STREAMS' }))
  })

  it('uses the last stream id and then says that there are no more', async () => {
    const { client, server } = joinedInMemory({ firstStreamId: 0xffff_ffff }, {})
    server.onStream((stream) => stream.pipe(stream))
    const last = client.open()
    last.end('last')
    expect((await readAll(last)).toString()).toBe('last')
    expect(() => client.open()).toThrow(expect.objectContaining({ code: 'TUNNEL_STREAM_IDS_EXHAUSTED' }))
  })

  it('takes no new streams after goAway(), and finishes those it has', async () => {
    const pair = joinedInMemory()
    const { near, far } = await openBoth(pair)
    pair.server.goAway()
    await pair.server.ping()
    expect(() => pair.client.open()).toThrow(expect.objectContaining({ code: 'TUNNEL_GOING_AWAY' }))
    far.end('still here')
    near.end()
    expect((await readAll(near)).toString()).toBe('still here')
    expect(pair.client.isClosed).toBe(false)
  })

  it('counts its bytes, frames included', async () => {
    const { client, server } = joinedInMemory({ pingAfterMs: 0 })
    server.onStream((stream) => stream.resume().end())
    const stream = client.open()
    stream.end(Buffer.alloc(1_000))
    await closeOf(stream.resume())
    await eventually('all arrived', () => server.bytesReceived === client.bytesSent)
    expect(client.bytesSent).toBe(1_000 + 3 * 12) // SYN, data, FIN
    expect(client.bytesReceived).toBe(server.bytesSent)
  })

  it('gives every stream its turn while another sends without end', async () => {
    const { client, server } = await joinedOverWebSocket()
    server.onStream((stream) => (stream.id === 1 ? stream.resume() : stream.pipe(stream)))
    const bulk = client.open()
    let isOver = false
    const load = pipeline(async function* () {
      while (!isOver) yield Buffer.alloc(64 * 1024)
    }, bulk)
    const small = client.open()
    for (let i = 0; i < 50; i += 1) {
      small.write('ping')
      await once(small, 'data')
    }
    isOver = true
    await load
    expect(bulk.bytesWritten).toBeGreaterThan(1024 * 1024)
  })

  it('passes errors of a write that can no longer be sent to its callback', async () => {
    const { client } = joinedInMemory()
    const stream = client.open()
    const failed = new Promise<Error | null | undefined>((resolve) => stream.write(Buffer.alloc(1 << 20), resolve))
    stream.destroy()
    expect(await failed).toBeInstanceOf(Error)
  })

  it('fires setTimeout of a stream after silence and not before', async () => {
    const pair = joinedInMemory()
    const { near, far } = await openBoth(pair)
    far.resume()
    const startedAt = performance.now()
    near.setTimeout(500)
    const writes = setInterval(() => near.write('x'), 30)
    setTimeout(() => clearInterval(writes), 700)
    await once(near, 'timeout')
    expect(performance.now() - startedAt).toBeGreaterThan(1_150)
    near.setTimeout(0)
  })
})

function sha(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
