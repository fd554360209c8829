import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { Flag, FrameType } from '../../tunnel/frame.ts'
import { Pings } from '../../tunnel/pings.ts'
import { ReceiveWindow, WindowBudget } from '../../tunnel/receive-window.ts'
import type { TunnelStream } from '../../tunnel/stream.ts'
import { OWN_PEER } from '../../tunnel/tunnel.ts'
import { eventually } from '../helpers/eventually.ts'
import { VirtualClock } from './chaos/virtual-clock.ts'
import { joinedInMemory, joinedOverWebSocket, rawPeer } from './joined.ts'

const KIB = 1024
const MIB = 1024 * KIB
/** What may sit in Readable's own buffer on top of the window. */
const BEYOND_WINDOW = 64 * KIB

describe('flow control', () => {
  it('stops the sender at the window when the reader stalls, and goes on when it reads', async () => {
    const { client, server } = await joinedOverWebSocket({ ...OWN_PEER, maxWindowBytes: 64 * KIB })
    const accepted = new Promise<TunnelStream>((resolve) => server.onStream(resolve))
    const sender = client.open()
    const total = 20 * 1024 * KIB
    sender.end(Buffer.alloc(total))
    const reader = await accepted
    await once(reader, 'readable') // reads ahead as far as Readable does, and no further
    await client.ping()
    await client.ping()
    expect(reader.bytesRead).toBeGreaterThanOrEqual(64 * KIB)
    expect(reader.bytesRead).toBeLessThanOrEqual(64 * KIB + BEYOND_WINDOW)
    expect(sender.bytesWritten).toBeLessThanOrEqual(64 * KIB + BEYOND_WINDOW)

    reader.resume()
    await once(reader, 'end')
    expect(reader.bytesRead).toBe(total)
  })

  it('holds at most window + 64 KiB per stream and little more memory than that with 100 stalled readers', async () => {
    const { client, server } = await joinedOverWebSocket(OWN_PEER)
    const readers: TunnelStream[] = []
    server.onStream((stream) => {
      readers.push(stream)
      stream.once('readable', () => {})
    })
    const before = process.memoryUsage().arrayBuffers
    const source = Buffer.alloc(4 * 1024 * KIB)
    for (let i = 0; i < 100; i += 1) client.open().end(source)
    await eventually('all have stopped', async () => {
      const seen = readers.map((reader) => reader.bytesRead).join()
      await client.ping()
      return readers.length === 100 && seen === readers.map((reader) => reader.bytesRead).join()
    })
    for (const reader of readers) expect(reader.bytesRead).toBeLessThanOrEqual(64 * KIB + BEYOND_WINDOW)
    const held = process.memoryUsage().arrayBuffers - before - source.length
    expect(held).toBeLessThan(100 * (64 * KIB + BEYOND_WINDOW) * 2)
  })

  it('gives credit for what was read and not for what was received', async () => {
    const { tunnel, frames, send } = rawPeer({ initialWindowBytes: 256 * KIB })
    const accepted = new Promise<TunnelStream>((resolve) => tunnel.onStream(resolve))
    send({ type: FrameType.windowUpdate, flags: Flag.syn, length: 0 })
    const stream = await accepted
    for (let sent = 0; sent < 256 * KIB; sent += 16 * KIB) send({}, Buffer.alloc(16 * KIB))
    await eventually('all is received', () => stream.bytesRead === 256 * KIB)
    const credit = () => frames.filter((frame) => frame.type === FrameType.windowUpdate && frame.flags === 0)
    expect(credit()).toEqual([])
    stream.resume()
    await eventually('credit is given', () => sum(credit()) === 256 * KIB)
    expect(credit().length).toBeLessThanOrEqual(3)
  })

  it('gives back exactly what was read while the rest waits', () => {
    const window = new ReceiveWindow(64, 64, new WindowBudget(0), { now: () => 0, roundTripMs: () => 1 })
    window.reserve(64)
    expect(window.consume(10)).toBe(false)
    expect(window.consume(30)).toBe(true)
    expect(window.takeCredit()).toBe(40)
    window.reserve(40)
    expect(() => window.reserve(1)).toThrow(/beyond the receive window of 0 bytes/)
  })

  it('sends few window updates to a stream of small frames that is read at once', async () => {
    const { tunnel, frames, send } = rawPeer({ initialWindowBytes: 64 * KIB, maxWindowBytes: 64 * KIB })
    tunnel.onStream((stream) => stream.resume())
    send({ flags: Flag.syn }, Buffer.alloc(KIB))
    for (let i = 1; i < 256; i += 1) {
      send({}, Buffer.alloc(KIB))
      await new Promise((resolve) => setImmediate(resolve))
    }
    const updates = () => frames.filter((frame) => frame.type === FrameType.windowUpdate && frame.length > 0)
    await eventually('all credit is back', () => sum(updates()) === 256 * KIB)
    expect(updates().length).toBe(8)
  })

  it('drops the rest of a frame whose stream was destroyed while it arrived', async () => {
    const { tunnel, socket, frames, send } = rawPeer()
    const accepted = new Promise<TunnelStream>((resolve) => tunnel.onStream(resolve))
    send({ flags: Flag.syn, length: 10_000 }, Buffer.alloc(4_000))
    const stream = await accepted
    await eventually('the first part is here', () => stream.bytesRead === 4_000)
    stream.destroy()
    socket.write(Buffer.alloc(6_000))
    send({ type: FrameType.ping, flags: Flag.syn, streamId: 0, length: 9 })
    await eventually('the frames after it are understood', () => frames.some((frame) => frame.type === FrameType.ping))
    expect(stream.bytesRead).toBe(4_000)
  })

  it('never sends beyond the credit that the peer gave', async () => {
    const { tunnel, frames, send } = rawPeer({ initialWindowBytes: 64 * KIB })
    const stream = tunnel.open()
    stream.write(Buffer.alloc(200 * KIB))
    const data = () => sum(frames.filter((frame) => frame.type === FrameType.data))
    await eventually('the window is used up', () => data() === 64 * KIB)
    send({ type: FrameType.windowUpdate, streamId: stream.id, length: 1 })
    await eventually('one byte more', () => data() === 64 * KIB + 1)
    send({ type: FrameType.windowUpdate, streamId: stream.id, length: 200 * KIB })
    await eventually('the rest', () => data() === 200 * KIB)
    const longest = Math.max(...frames.filter((frame) => frame.type === FrameType.data).map((frame) => frame.length))
    expect(longest).toBe(16 * KIB)
  })

  it('lets windows grow within what all streams of the tunnel share, and no further', () => {
    const budget = new WindowBudget(100)
    const way = wayOf(80)
    const windows = [new ReceiveWindow(64, 256, budget, way), new ReceiveWindow(64, 256, budget, way)]
    for (const window of windows) carry(window, way, 6)
    expect(windows.map((window) => window.size)).toEqual([164, 64])
    for (const window of windows) window.release()
    expect(budget.left).toBe(100)
  })

  it('keeps its buffers small when the peer does not read from the connection at all', async () => {
    const { tunnel, socket } = rawPeer({ initialWindowBytes: 256 * KIB })
    socket.pause()
    const streams = Array.from({ length: 50 }, () => tunnel.open())
    for (const stream of streams) stream.write(Buffer.alloc(256 * KIB))
    await new Promise((resolve) => setImmediate(resolve))
    expect(tunnel.bytesSent).toBeLessThan(256 * KIB)
    socket.resume()
    await eventually('all is sent', () => streams.every((stream) => stream.bytesWritten === 256 * KIB))
  })
})

describe('two stalled tunnels ends', () => {
  it('still answer pings, for data never blocks the frames of the session', async () => {
    const { client, server } = joinedInMemory()
    server.onStream(() => {})
    for (let i = 0; i < 20; i += 1) client.open().write(Buffer.alloc(1024 * KIB))
    expect(await client.ping()).toBeLessThan(1_000)
    expect(await server.ping()).toBeLessThan(1_000)
  })
})

describe('the frames of a stream', () => {
  const lengthsOf = async (bytes: number) => {
    const { tunnel, frames } = rawPeer()
    tunnel.open().write(Buffer.alloc(bytes))
    const sent = () => frames.filter(({ type }) => type === FrameType.data).map(({ length }) => length)
    await eventually('all is sent', () => sent().reduce((sum, length) => sum + length, 0) === bytes)
    return sent()
  }

  it('hold 16 KiB, and a short rest goes with the last', async () => {
    expect(await lengthsOf(64 * KIB + 11)).toEqual([16_384, 16_384, 16_384, 16_395])
    expect(await lengthsOf(16 * KIB + 257)).toEqual([16_384, 257])
    expect(await lengthsOf(5)).toEqual([5])
  })
})

/** A way with this round trip, in time that passes when the test says so. */
function wayOf(roundTripMs: number | undefined) {
  let now = 0
  return {
    now: () => now,
    roundTripMs: () => roundTripMs,
    pass(ms: number) {
      now += ms
    },
  }
}

/** Sends through the window what it lets through, for so many round trips (of 80 ms, unless told), and never more per trip than `most`. */
function carry(
  window: ReceiveWindow,
  way: ReturnType<typeof wayOf>,
  trips: number,
  most = Infinity,
  tripMs = 80,
): void {
  let open = window.size
  for (let trip = 0; trip < trips; trip += 1) {
    const bytes = Math.min(open, most)
    // In two halves, as credit comes back when half a window was read.
    for (const part of [Math.floor(bytes / 2), bytes - Math.floor(bytes / 2)]) {
      window.reserve(part)
      way.pass(tripMs / 2)
      open -= part
      if (window.consume(part)) open += window.takeCredit()
    }
  }
}

describe('a receive window', () => {
  const grown = (way: ReturnType<typeof wayOf>, most = Infinity, tripMs = 80) => {
    const window = new ReceiveWindow(64 * KIB, 4 * MIB, new WindowBudget(16 * MIB), way)
    carry(window, way, 40, most, tripMs)
    return window.size
  }

  it('grows to its maximum on a long way that a sender keeps full', () => {
    expect(grown(wayOf(80))).toBe(4 * MIB)
  })

  it('grows to about what the stream carries in two round trips, when the sender has no more', () => {
    const size = grown(wayOf(80), 300 * KIB)
    expect(size).toBeGreaterThanOrEqual(300 * KIB)
    expect(size).toBeLessThanOrEqual(610 * KIB)
  })

  it('stays as it is when much comes in one turn of the event loop, and then nothing for a while', () => {
    const way = wayOf(1)
    const window = new ReceiveWindow(64 * KIB, 4 * MIB, new WindowBudget(16 * MIB), way)
    for (let turn = 0; turn < 100; turn += 1) {
      for (let frame = 0; frame < 10; frame += 1) {
        window.reserve(16 * KIB)
        way.pass(0.01)
        if (window.consume(16 * KIB)) window.takeCredit()
      }
      way.pass(10)
    }
    expect(window.size).toBe(64 * KIB)
  })

  it('stays as it is when queues and not the way make a full window slow', () => {
    // 64 KiB take 10 ms, but the way alone is 0.2 ms: on loopback the reader is what holds the stream back.
    expect(grown(wayOf(0.2), Infinity, 10)).toBe(64 * KIB)
  })

  it('stays as it is while the round trip is not known', () => {
    expect(grown(wayOf(undefined))).toBe(64 * KIB)
  })

  it('does not grow for a reader that stalls', () => {
    const way = wayOf(80)
    const window = new ReceiveWindow(64 * KIB, 4 * MIB, new WindowBudget(16 * MIB), way)
    window.reserve(64 * KIB)
    way.pass(1_000)
    expect(window.consume(32 * KIB)).toBe(true) // Readable's read-ahead
    expect(window.takeCredit()).toBe(32 * KIB)
    expect(window.size).toBe(64 * KIB)
  })
})

describe('the round trip that windows are tuned by', () => {
  it('is the shortest of late, known after three measurements, and forgotten with the connection', async () => {
    const clock = new VirtualClock()
    const pings = new Pings(15_000, clock)
    const answers: number[] = []
    const measure = async (ms: number) => {
      const answer = pings.ping((value) => void answers.push(value))
      clock.after(ms, () => pings.answered(answers.at(-1) ?? 0))
      await clock.run(() => pings.pending === 0, Infinity)
      await answer
    }
    await measure(40)
    await measure(20)
    expect(pings.leastMs).toBeUndefined()
    await measure(30)
    expect(pings.leastMs).toBe(20)
    expect(pings.smoothedMs).toBeCloseTo(37, 0)
    for (let i = 0; i < 13_000; i += 1) await measure(50) // the way became longer, 11 minutes ago
    expect(pings.leastMs).toBe(50)
    pings.forgetTimes()
    expect(pings.leastMs).toBeUndefined()
    for (let i = 0; i < 3; i += 1) await measure(90)
    expect(pings.leastMs).toBe(90)
  })
})

function sum(frames: { length: number }[]): number {
  return frames.reduce((total, frame) => total + frame.length, 0)
}
