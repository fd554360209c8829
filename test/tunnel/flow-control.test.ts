import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { Flag, FrameType } from '../../tunnel/frame.ts'
import { ReceiveWindow, WindowBudget } from '../../tunnel/receive-window.ts'
import type { TunnelStream } from '../../tunnel/stream.ts'
import { OWN_PEER } from '../../tunnel/tunnel.ts'
import { eventually } from '../helpers/eventually.ts'
import { joinedInMemory, joinedOverWebSocket, rawPeer } from './joined.ts'

const KIB = 1024
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
    const window = new ReceiveWindow(64, 64, new WindowBudget(0))
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
    expect(longest).toBe(64 * KIB) // it is alone
  })

  it('lets a window grow with use, within what all streams of the tunnel share', () => {
    const budget = new WindowBudget(100)
    const windows = [new ReceiveWindow(64, 256, budget), new ReceiveWindow(64, 256, budget)]
    for (const window of windows) {
      window.reserve(64)
      window.consume(64)
      expect(window.takeCredit()).toBe(64) // a read-ahead may have taken this much: no growth yet
      window.reserve(1)
      window.consume(1)
      expect(window.takeCredit()).toBe(window === windows[0] ? 65 : 37)
    }
    expect(windows.map((window) => window.size)).toEqual([128, 100])
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

function sum(frames: { length: number }[]): number {
  return frames.reduce((total, frame) => total + frame.length, 0)
}
