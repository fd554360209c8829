// Who sends next: decided by what was sent, never by a clock.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FrameType } from '../../tunnel/frame.ts'
import { Turns } from '../../tunnel/turns.ts'
import { eventually } from '../helpers/eventually.ts'
import { rawPeer } from './joined.ts'

const KIB = 1024

/** Lets the streams send `frames` frames; bulk ones have always something to send. Returns who sent. */
function serve(
  turns: Turns<string>,
  frames: number,
  bulk: Record<string, ReturnType<typeof Turns.turnOf<string>>>,
): string[] {
  return Array.from({ length: frames }, () => {
    const turn = turns.next()
    if (turn === undefined) return '-'
    const isBulk = turn.stream in bulk
    turns.sent(turn, isBulk ? 16 * KIB : 50)
    if (isBulk) turns.add(turn)
    return turn.stream
  })
}

function withBulk(...names: string[]) {
  const turns = new Turns<string>()
  const bulk = Object.fromEntries(names.map((name) => [name, Turns.turnOf(name)]))
  for (const turn of Object.values(bulk)) turns.add(turn)
  return { turns, bulk }
}

describe('turns', () => {
  it('are shared equally by bulk streams', () => {
    const { turns, bulk } = withBulk('a', 'b', 'c')
    const sent = serve(turns, 300, bulk)
    for (const name of ['a', 'b', 'c']) expect(sent.filter((who) => who === name)).toHaveLength(100)
  })

  it.each([1, 2, 10])('let a keystroke go before %i bulk streams, each time', (count) => {
    const { turns, bulk } = withBulk(...Array.from({ length: count }, (_, index) => `bulk ${index}`))
    const typing = Turns.turnOf('typing')
    serve(turns, 37, bulk)
    for (let key = 0; key < 50; key += 1) {
      turns.add(typing)
      expect(serve(turns, 1, bulk)).toEqual(['typing'])
      serve(turns, 1 + (key % 5), bulk)
    }
  })

  it('let a newcomer with much to send go first once, and then take turns', () => {
    const { turns, bulk } = withBulk('a', 'b')
    serve(turns, 51, bulk)
    bulk.c = Turns.turnOf('c')
    turns.add(bulk.c)
    const sent = serve(turns, 30, bulk)
    expect(sent[0]).toBe('c')
    for (const name of ['a', 'b', 'c']) {
      const count = sent.filter((who) => who === name).length
      expect(count).toBeGreaterThanOrEqual(9)
      expect(count).toBeLessThanOrEqual(11)
    }
  })

  it('come to a bulk stream although newcomers with a little each never end', () => {
    const { turns, bulk } = withBulk('bulk')
    let served = 0
    for (let newcomer = 0; newcomer < 20_000; newcomer += 1) {
      turns.add(Turns.turnOf(`newcomer ${newcomer}`))
      if (serve(turns, 1, bulk)[0] === 'bulk') served += 1
    }
    expect(served).toBeGreaterThan(10)
  })

  it('never lose or double a stream that waits, in whatever order they come', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 9 }), fc.nat(20_000)), { maxLength: 200 }), (steps) => {
        const turns = new Turns<number>()
        const all = Array.from({ length: 10 }, (_, index) => Turns.turnOf(index))
        const waiting = new Set<number>()
        for (const [index, bytes] of steps) {
          const turn = all[index]
          if (turn === undefined) continue
          if (bytes % 3 > 0) {
            turns.add(turn)
            waiting.add(index)
          } else {
            const next = turns.next()
            expect(next === undefined).toBe(waiting.size === 0)
            if (next === undefined) continue
            expect(waiting.delete(next.stream)).toBe(true)
            turns.sent(next, bytes)
          }
          expect(turns.waiting).toBe(waiting.size)
        }
      }),
    )
  })

  it('forgive a stream that was busy and pauses', () => {
    const { turns, bulk } = withBulk('a', 'b')
    serve(turns, 100, bulk)
    const wasBusy = bulk.a
    if (wasBusy === undefined) throw new Error('no a')
    delete bulk.a // its next frame is its last
    serve(turns, 40, bulk)
    turns.add(wasBusy)
    expect(serve(turns, 1, bulk)).toEqual(['a'])
  })
})

describe('frames on the wire', () => {
  it('of a sparse stream go out in the next batch although bulk streams have filled the queue', async () => {
    const { tunnel, frames, socket } = rawPeer({ initialWindowBytes: 1024 * KIB })
    socket.pause() // the transport fills up
    const bulk = Array.from({ length: 3 }, () => tunnel.open())
    const sparse = tunnel.open()
    for (const stream of bulk) stream.write(Buffer.alloc(1024 * KIB))
    await new Promise((resolve) => setImmediate(resolve))
    const before = tunnel.bytesSent
    sparse.write('a key')
    await new Promise((resolve) => setImmediate(resolve))
    expect(tunnel.bytesSent).toBe(before) // the transport is full
    socket.resume()
    await eventually('all came', () => frames.filter(({ type }) => type === FrameType.data).length > 100)
    const firstKey = frames.findIndex(({ type, streamId }) => type === FrameType.data && streamId === sparse.id)
    const ahead = frames
      .slice(0, firstKey)
      .reduce((sum, { type, length }) => sum + 12 + (type === FrameType.data ? length : 0), 0)
    expect(ahead).toBeLessThanOrEqual(before)
  })

  it('are 16 KiB at most', async () => {
    const { tunnel, frames } = rawPeer({ initialWindowBytes: 1024 * KIB })
    for (const stream of [tunnel.open(), tunnel.open()]) stream.write(Buffer.alloc(256 * KIB))
    const data = () => frames.filter(({ type }) => type === FrameType.data)
    await eventually('all came', () => data().reduce((sum, { length }) => sum + length, 0) === 512 * KIB)
    expect(
      Math.max(
        ...data()
          .slice(0, 20)
          .map(({ length }) => length),
      ),
    ).toBe(16 * KIB)
  })
})
