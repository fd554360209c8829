// A lost WebSocket loses no stream: over real sockets, with a relay that cuts, goes silent or refuses.

import { createHash, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { connectWebSocket } from '../../tunnel/connect.ts'
import type { TunnelStream } from '../../tunnel/stream.ts'
import { OWN_PEER, type Tunnel } from '../../tunnel/tunnel.ts'
import { eventually } from '../helpers/eventually.ts'
import { closeOf, webSocketServer } from './joined.ts'
import { startAcceptor, startDialling, startRelay } from './resuming.ts'

const MIB = 1024 * 1024

async function resuming(options = {}, resumable = {}) {
  const acceptor = await startAcceptor({ ...OWN_PEER, ...options }, resumable)
  const relay = await startRelay(acceptor.port)
  const dialling = startDialling(relay.port, { ...OWN_PEER, ...options }, resumable)
  const client = await dialling.first
  const server = await eventually('the accepting end has it', () => acceptor.tunnels[0])
  return { acceptor, relay, dialling, client, server }
}

/** Sends `total` random bytes; resolves with their hash when the last was written. */
async function send(stream: TunnelStream, total: number): Promise<string> {
  const hash = createHash('sha256')
  let left = total
  const source = new Readable({
    highWaterMark: 64 * 1024,
    read(size) {
      const bytes = randomBytes(Math.min(left, size))
      left -= bytes.length
      hash.update(bytes)
      this.push(bytes.length > 0 ? bytes : null)
    },
  })
  source.pipe(stream)
  await new Promise((resolve, reject) => stream.on('finish', resolve).on('error', reject))
  return hash.digest('hex')
}

async function receive(stream: TunnelStream): Promise<string> {
  const hash = createHash('sha256')
  stream.on('data', (bytes: Buffer) => hash.update(bytes))
  await new Promise((resolve, reject) => stream.on('end', resolve).on('error', reject))
  return hash.digest('hex')
}

/** What each stream carries both ways, as hashes: [sent, received, sent, received]. */
async function exchange(from: Tunnel, to: Tunnel, count: number, total: number): Promise<string[][]> {
  const accepted = new Map<number, Promise<[string, string]>>()
  to.onStream((stream) => {
    accepted.set(stream.id, Promise.all([send(stream, total), receive(stream)]))
  })
  const ours = Array.from({ length: count }, () => from.open())
  const hashes = await Promise.all(ours.map((stream) => Promise.all([send(stream, total), receive(stream)])))
  return Promise.all(
    ours.map(async ({ id }, index) => {
      const [sentThere = '', receivedThere = ''] = (await accepted.get(id)) ?? []
      const [sent = '', received = ''] = hashes[index] ?? []
      return [sent, receivedThere, sentThere, received]
    }),
  )
}

describe('a tunnel whose connection is cut', () => {
  it('40 times loses and repeats no byte of 8 streams in each direction', { timeout: 60_000 }, async () => {
    const { relay, client, server, acceptor, dialling } = await resuming()
    let cuts = 0
    let isOver = false
    const cutting = (async () => {
      while (!isOver && cuts < 40) {
        const seen = client.bytesReceived + server.bytesReceived
        await eventually('bytes move', () => isOver || client.bytesReceived + server.bytesReceived > seen + 2 * MIB)
        relay.cut()
        cuts += 1
      }
    })()
    // As often as it takes: how much passes between two cuts is the machine's affair.
    while (cuts < 40) {
      const results = await Promise.all([exchange(client, server, 8, 5 * MIB), exchange(server, client, 8, 5 * MIB)])
      for (const [sent, receivedThere, sentThere, received] of results.flat()) {
        expect(receivedThere).toBe(sent)
        expect(received).toBe(sentThere)
      }
    }
    isOver = true
    await cutting
    expect(cuts).toBe(40)
    expect(dialling.connections).toBeGreaterThan(30)
    expect(client.stats().resumes).toBe(dialling.connections - 1)
    expect([dialling.tunnels.length, acceptor.tunnels.length]).toEqual([1, 1])
    await eventually('all is acknowledged', () => client.stats().bytesInFlight + server.stats().bytesInFlight === 0)
    await eventually('no stream is left', () => client.streams + server.streams === 0)
  })

  it('goes on with what was opened and written meanwhile', async () => {
    const { relay, client, server } = await resuming()
    server.onStream((stream) => stream.pipe(stream))
    relay.isClosed = true
    relay.cut()
    await eventually('both have noticed', () => !client.isAttached && !server.isAttached)
    const stream = client.open()
    const echoed = receive(stream)
    stream.end('typed while there was no connection')
    expect(await client.whenAttached(20)).toBe(false)
    relay.isClosed = false
    expect(await client.whenAttached(10_000)).toBe(true)
    expect(await echoed).toBe(createHash('sha256').update('typed while there was no connection').digest('hex'))
  })

  it('ends at once when it is closed on purpose, and does not wait for a connection', async () => {
    const { relay, client, server, acceptor } = await resuming()
    await server.close('the task has ended')
    expect(await client.closed).toEqual({
      kind: 'peer',
      message: 'the other side closed the tunnel: the task has ended',
    })
    expect(acceptor.sessions.size).toBe(0)
    relay.isClosed = true
    const { client: second, server: other, relay: otherRelay } = await resuming()
    otherRelay.isClosed = true
    otherRelay.cut()
    await eventually('it is detached', () => !second.isAttached && !other.isAttached)
    await second.close('enough')
    expect(await second.whenAttached(10_000)).toBe(false)
    expect((await second.closed).kind).toBe('local')
  })

  it('ends with kind transport when no connection takes its place in time', async () => {
    const { relay, client, server, acceptor } = await resuming({}, { resumeWithinMs: 150 })
    server.onStream(() => {})
    const stream = client.open()
    const streamClosed = closeOf(stream)
    await client.ping()
    relay.isClosed = true
    relay.cut()
    const ends = await Promise.all([client.closed, server.closed])
    expect(ends.map(({ kind }) => kind)).toEqual(['transport', 'transport'])
    expect(ends[0]?.message).toMatch(/no connection took its place within 0\.2 s$/)
    expect((await streamClosed)?.code).toBe('TUNNEL_CLOSED')
    expect(acceptor.sessions.size).toBe(0)
  })

  it('ends at once, with the reason, when the other side was restarted, and a new one begins', async () => {
    const { relay, client, acceptor, dialling } = await resuming()
    const stream = client.open()
    const streamClosed = closeOf(stream)
    await client.ping()
    const restarted = await startAcceptor(OWN_PEER)
    relay.target = restarted.port
    relay.cut()
    expect((await client.closed).message).toMatch(/does not know this tunnel any more/)
    expect((await streamClosed)?.code).toBe('TUNNEL_CLOSED')
    const next = await eventually('a new tunnel', () => dialling.tunnels[1])
    expect(await next.ping()).toBeGreaterThan(0)
    expect([acceptor.tunnels.length, restarted.tunnels.length]).toEqual([1, 1])
  })

  it('finds a relay that went silent, each end for itself, and goes on over another connection', async () => {
    const { relay, client, server, dialling } = await resuming({ pingAfterMs: 100, deadAfterMs: 500 })
    server.onStream((stream) => stream.pipe(stream))
    const stream = client.open()
    stream.write('before')
    await eventually('it works', () => stream.bytesRead === 6)
    const startedAt = performance.now()
    relay.isClosed = true // so that neither learns it from the other's next dial
    relay.goSilent()
    stream.write(' and after')
    await eventually('both have noticed', () => !client.isAttached && !server.isAttached)
    expect(performance.now() - startedAt).toBeGreaterThan(300)
    expect(performance.now() - startedAt).toBeLessThan(5_000)
    await new Promise((resolve) => setTimeout(resolve, 600)) // time without a connection is no silence of the next
    relay.isClosed = false
    let text = ''
    stream.on('data', (bytes: Buffer) => {
      text += bytes
    })
    await eventually('the echo comes', () => text === 'before and after')
    expect([client.isClosed, server.isClosed, dialling.tunnels.length]).toEqual([false, false, 1])
  })

  it('is taken over by a later dial while its old connection is a zombie', async () => {
    const acceptor = await startAcceptor({ ...OWN_PEER, pingAfterMs: 0 })
    const relay = await startRelay(acceptor.port)
    const dialling = startDialling(relay.port, { ...OWN_PEER, pingAfterMs: 60, deadAfterMs: 200 })
    const client = await dialling.first
    const server = await eventually('the accepting end has it', () => acceptor.tunnels[0])
    const seen: boolean[] = []
    server.onAttachment((isAttached) => seen.push(isAttached))
    await client.ping()
    relay.goSilent() // the accepting end, which does not ping here, never notices by itself
    await eventually('it goes on', () => client.stats().resumes > 0)
    expect(await client.ping()).toBeGreaterThan(0)
    expect(acceptor.tunnels).toHaveLength(1)
    expect(acceptor.sessions.size).toBe(1)
    expect(seen).toEqual(server.stats().resumes === 1 ? [false, true] : expect.arrayContaining([false, true]))
  })

  it('measures the round trip without counting the outage', async () => {
    const { relay, client } = await resuming()
    await client.ping()
    relay.isClosed = true
    relay.cut()
    await eventually('it is detached', () => !client.isAttached)
    const slow = client.ping()
    await new Promise((resolve) => setTimeout(resolve, 400))
    relay.isClosed = false
    expect(await slow).toBeGreaterThan(350)
    expect(client.stats().rttMs).toBeLessThan(300)
  })
})

describe('the other end of a dial', () => {
  it('that knows no resume is used as before: the tunnel ends with its connection', async () => {
    const { url, next } = await webSocketServer()
    const accepted = next()
    const dialling = startDialling(Number(new URL(url).port))
    const transport = await accepted
    const client = await dialling.first
    expect(client.isAttached).toBe(true)
    transport.start({ onBytes() {}, onDrain() {}, onClose() {} })
    transport.destroy('cut')
    expect((await client.closed).kind).toBe('transport')
  })

  it('gets a tunnel without resume when it does not ask for one', async () => {
    const acceptor = await startAcceptor()
    await expect(
      connectWebSocket(`ws://127.0.0.1:${acceptor.port}/`, { signal: AbortSignal.timeout(5_000) }),
    ).rejects.toMatchObject({ status: 400 }) // this acceptor takes no others; the gateway does
    expect(acceptor.refusals).toEqual(['no session was asked for'])
  })
})
