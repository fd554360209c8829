import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { Flag, type FrameHeader, FrameType, GoAwayCode } from '../../tunnel/frame.ts'
import { eventually } from '../helpers/eventually.ts'
import { closeOf, rawPeer } from './joined.ts'

const SYN: Partial<FrameHeader> = { type: FrameType.windowUpdate, flags: Flag.syn, length: 0 }
const UINT32 = 0xffff_ffff

type Peer = ReturnType<typeof rawPeer>

/** What a peer may not do, and a word of the reason it gets. */
const offences: [string, (peer: Peer) => void, RegExp][] = [
  ['sends another version', ({ socket }) => socket.write(Buffer.from('010000000000000000000000', 'hex')), /version 1/],
  ['sends an unknown type', ({ socket }) => socket.write(Buffer.from('000400000000000000000000', 'hex')), /type 4/],
  ['speaks HTTP', ({ socket }) => socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'), /version 71/],
  [
    'announces more data with its SYN than the window',
    ({ send }) => send({ flags: Flag.syn, length: UINT32 }),
    /window/,
  ],
  [
    'sends more data than it has credit for',
    ({ send }) => {
      send({ flags: Flag.syn }, Buffer.alloc(200 * 1024))
      send({}, Buffer.alloc(100 * 1024))
    },
    /beyond the receive window/,
  ],
  [
    'gives credit beyond 4 GiB',
    ({ send }) => {
      send(SYN)
      send({ type: FrameType.windowUpdate, length: UINT32 })
    },
    /over 4 GiB/,
  ],
  ['gives credit beyond 4 GiB with its SYN', ({ send }) => send({ ...SYN, length: UINT32 }), /over 4 GiB/],
  [
    'opens a stream that exists',
    ({ send }) => {
      send(SYN)
      send(SYN)
    },
    /exists already/,
  ],
  ['opens a stream of the other parity', ({ send }) => send({ ...SYN, streamId: 2 }), /parity/],
  ['opens stream 0', ({ send }) => send({ ...SYN, streamId: 0 }), /stream 0/],
  ['sends data on stream 0', ({ send }) => send({ streamId: 0 }, Buffer.from('x')), /stream 0/],
  ['sends data on a stream that never was', ({ send }) => send({ streamId: 7 }, Buffer.from('x')), /never opened/],
  [
    'accepts a stream that we never opened',
    ({ send }) => send({ ...SYN, flags: Flag.ack, streamId: 4 }),
    /never opened/,
  ],
  [
    'sends data after FIN',
    ({ send }) => {
      send({ flags: Flag.syn | Flag.fin }, Buffer.from('all'))
      send({}, Buffer.from('more'))
    },
    /after its FIN/,
  ],
  [
    'sends a huge frame on a stream that is over',
    ({ send }) => {
      send(SYN)
      send({ ...SYN, flags: Flag.rst })
      send({ length: UINT32 })
    },
    /beyond any window/,
  ],
  ['pings on a stream', ({ send }) => send({ type: FrameType.ping, flags: Flag.syn, length: 1 }), /ping on stream 1/],
  ['says go-away on a stream', ({ send }) => send({ type: FrameType.goAway, length: 0 }), /go-away on stream 1/],
]

describe('a peer that', () => {
  it.each(offences)('%s gets a go-away with a protocol error', async (_what, offend, reason) => {
    const peer = rawPeer()
    const own = peer.tunnel.open()
    const ownClosed = closeOf(own)
    offend(peer)
    const end = await peer.tunnel.closed
    expect(end.kind).toBe('protocol')
    expect(end.message).toMatch(reason)
    expect((await ownClosed)?.code).toBe('TUNNEL_CLOSED')
    await eventually('the go-away is there', () =>
      peer.frames.some((frame) => frame.type === FrameType.goAway && frame.length === GoAwayCode.protocolError),
    )
    expect(peer.tunnel.streams).toBe(0)
    await eventually('the connection is closed', () => peer.socket.readableEnded)
  })

  it('does not read the answers to its pings is cut off at 10,000 of them', async () => {
    const { tunnel, socket, send } = rawPeer()
    socket.pause()
    for (let i = 0; i < 20_000 && !tunnel.isClosed; i += 1) {
      send({ type: FrameType.ping, flags: Flag.syn, streamId: 0, length: i })
      if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    expect((await tunnel.closed).message).toMatch(/does not read/)
  })

  it('opens and resets streams without end leaves nothing', async () => {
    const { tunnel, frames, send } = rawPeer()
    for (let i = 0; i < 5_000; i += 1) {
      send({ ...SYN, streamId: 2 * i + 1 })
      send({ ...SYN, flags: Flag.rst, streamId: 2 * i + 1 })
      if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    send({ type: FrameType.ping, flags: Flag.syn, streamId: 0, length: 42 })
    await eventually('the ping is answered', () => frames.some((frame) => frame.type === FrameType.ping))
    expect(tunnel.streams).toBe(0)
    expect(tunnel.isClosed).toBe(false)
  })

  it('sends random bytes ends its session and nothing else', async () => {
    for (let round = 0; round < 200; round += 1) {
      const { tunnel, socket } = rawPeer()
      const bytes = randomBytes(64)
      // A valid beginning now and then, so that all types are reached.
      if (round % 2 === 0) bytes.set([0, round % 4, 0, round % 16])
      socket.write(bytes)
      socket.end()
      const { kind } = await tunnel.closed
      expect(['protocol', 'peer']).toContain(kind)
    }
  })

  it('ends the tunnel with an error code is named as the cause', async () => {
    const { tunnel, send } = rawPeer()
    send({ type: FrameType.goAway, streamId: 0, length: GoAwayCode.internalError })
    expect(await tunnel.closed).toEqual({
      kind: 'peer',
      message: 'the other side ended the tunnel because of error code 2',
    })
  })

  it('combines flags on data frames is understood', async () => {
    const { tunnel, frames, send } = rawPeer()
    const seen: string[] = []
    tunnel.onStream((stream) => {
      stream.on('data', (bytes: Buffer) => seen.push(bytes.toString()))
      stream.on('end', () => {
        seen.push('end')
        stream.end('ok')
      })
    })
    send({ flags: Flag.syn | Flag.fin }, Buffer.from('all at once'))
    await eventually('the stream is done', () => tunnel.streams === 0 && seen.length === 2)
    expect(seen).toEqual(['all at once', 'end'])
    await eventually('ACK, data and FIN came', () => {
      const flags = frames.map((frame) => frame.flags)
      return flags.includes(Flag.ack) && flags.includes(Flag.fin) && !flags.includes(Flag.rst)
    })
  })
})
