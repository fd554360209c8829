// Our session against yamux-js 0.2.0, within what that can do: it needs whole frames per chunk (so: in memory), knows no
// half-close, and refuses streams for good after 256.

import { randomBytes } from 'node:crypto'
import { duplexPair } from 'node:stream'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Client, Server } from 'yamux-js'
import { duplexTransport } from '../../tunnel/duplex.ts'
import type { TunnelStream } from '../../tunnel/stream.ts'
import { createTunnel, type Tunnel } from '../../tunnel/tunnel.ts'
import { eventually } from '../helpers/eventually.ts'

const quiet = { enableKeepAlive: false, logger: () => {} }

function joinedTo(session: Client | Server, side: 'client' | 'server'): Tunnel {
  const [theirs, ours] = duplexPair()
  theirs.pipe(session).pipe(theirs)
  session.on('error', () => {})
  const tunnel = createTunnel(duplexTransport(ours), { side, pingAfterMs: 0 })
  onTestFinished(() => tunnel.close('test is over'))
  return tunnel
}

describe('yamux-js', () => {
  it('as client gets its bytes back from us on several streams', async () => {
    const session = new Client(quiet)
    const tunnel = joinedTo(session, 'server')
    tunnel.onStream((stream) => stream.pipe(stream))
    await Promise.all(
      Array.from({ length: 10 }, async () => {
        const data = randomBytes(100_000)
        const stream = session.open()
        const pieces: Buffer[] = []
        stream.on('data', (bytes: Buffer) => pieces.push(bytes))
        stream.write(data)
        await eventually('all is back', () => Buffer.concat(pieces).equals(data))
      }),
    )
  })

  it('as server echoes what we send, beyond its window', async () => {
    const tunnel = joinedTo(new Server((stream) => stream.pipe(stream), quiet), 'client')
    const data = randomBytes(700_000)
    const stream: TunnelStream = tunnel.open()
    const pieces: Buffer[] = []
    stream.on('data', (bytes: Buffer) => pieces.push(bytes))
    stream.write(data)
    await eventually('all is back', () => stream.bytesRead === data.length)
    expect(Buffer.concat(pieces).equals(data)).toBe(true)
  })

  it('answers our pings, and we answer its', async () => {
    const session = new Client({ ...quiet, enableKeepAlive: true, keepAliveInterval: 0.02, connectionWriteTimeout: 1 })
    const tunnel = joinedTo(session, 'server')
    expect(await tunnel.ping()).toBeGreaterThanOrEqual(0)
    await eventually('it has sent some', () => tunnel.bytesReceived >= 10 * 12)
    expect(session.isClosed()).toBe(false)
    session.close()
  })
})
