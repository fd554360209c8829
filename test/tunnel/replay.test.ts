// The memory of a tunnel that resumes: what is kept, and how much at most.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BlockPool, writeBlocks } from '../../tunnel/block-pool.ts'
import { RESERVE_PER_TUNNEL_BYTES, ReplayBudget } from '../../tunnel/replay-budget.ts'
import { ReplayBuffer } from '../../tunnel/replay-buffer.ts'
import { ACK_EVERY_BYTES, ResumableTransport } from '../../tunnel/resumable.ts'
import type { Carrier, CarrierReceiver } from '../../tunnel/transport.ts'
import { eventually } from '../helpers/eventually.ts'

const KIB = 1024
const MIB = 1024 * KIB

setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

/** A carrier that takes everything and says nothing, unless the test does. */
function sink() {
  const taken: Buffer[] = []
  const texts: string[] = []
  let receiver: CarrierReceiver | undefined
  let isDetached = false
  const carrier: Carrier = {
    start(to) {
      receiver = to
    },
    write: (bytes) => {
      taken.push(bytes)
      return true
    },
    writeText: (text) => void texts.push(text),
    queuedBytes: 0,
    close: async () => {},
    detach() {
      isDetached = true
    },
  }
  return {
    carrier,
    texts,
    isDetached: () => isDetached,
    /** As if a connection delivered even after it was left. */
    late: () => receiver,
    bytes: () => Buffer.concat(taken),
    total: () => taken.reduce((sum, { length }) => sum + length, 0),
  }
}

function started(options: ConstructorParameters<typeof ResumableTransport>[0] = {}) {
  const transport = new ResumableTransport(options)
  const seen = { drains: 0, bytes: 0, ends: [] as string[] }
  transport.start({
    onBytes: ({ length }) => {
      seen.bytes += length
    },
    onDrain: () => {
      seen.drains += 1
    },
    onClose: ({ message }) => void seen.ends.push(message),
  })
  return { transport, seen }
}

describe('the replay buffer', () => {
  it('gives each connection exactly what its other side has not, whatever is written, given and acknowledged', () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('write' as const),
        size: fc.oneof(fc.integer({ max: 40, min: 0 }), fc.integer({ min: 4_000, max: 6_000 })),
      }),
      fc.record({ kind: fc.constant('give' as const), size: fc.integer({ min: 1, max: 5 }) }),
      fc.record({ kind: fc.constant('acknowledge' as const), size: fc.integer({ min: 0, max: 9_000 }) }),
      fc.record({ kind: fc.constant('reconnect' as const), size: fc.integer({ min: 0, max: 9_000 }) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const buffer = new ReplayBuffer()
        let all = Buffer.alloc(0)
        /** What the other side has. */
        let there = Buffer.alloc(0)
        let next = 0
        for (const { kind, size } of steps) {
          if (kind === 'write') {
            const bytes = Buffer.from(Array.from({ length: size }, () => next++ & 255))
            all = Buffer.concat([all, bytes])
            buffer.append(bytes)
          } else if (kind === 'give') {
            for (let i = 0; i < size; i += 1) there = Buffer.concat([there, buffer.next() ?? Buffer.alloc(0)])
          } else if (kind === 'acknowledge') {
            expect(buffer.acknowledge(Math.min(there.length, buffer.acknowledged + size), 0)).toBe(true)
          } else {
            there = there.subarray(0, Math.max(buffer.acknowledged, there.length - size)) // the end was lost
            expect(buffer.rewind(there.length)).toBe(true)
          }
          expect(there.equals(all.subarray(0, there.length))).toBe(true)
          expect(buffer.held).toBe(all.length - buffer.acknowledged)
          expect(buffer.acknowledge(buffer.given + 1, 0)).toBe(false)
        }
        for (let bytes = buffer.next(); bytes !== undefined; bytes = buffer.next())
          there = Buffer.concat([there, bytes])
        expect(there.equals(all)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  it('keeps the bytes that were written, not the memory they were a part of', async () => {
    const buffer = new ReplayBuffer()
    collectGarbage()
    const before = process.memoryUsage().arrayBuffers
    for (let i = 0; i < 20_000; i += 1) {
      buffer.append(Buffer.allocUnsafeSlow(8 * KIB).subarray(0, 12))
      buffer.next()
    }
    // Freed memory is counted off a little later.
    await eventually('what is not held is given back', () => {
      collectGarbage()
      return process.memoryUsage().arrayBuffers - before < 2 * MIB
    })
    expect(buffer.held).toBe(240_000)
  })
})

describe('memory for writes', () => {
  const written = () => {
    const buffer = new ReplayBuffer()
    const bytes = writeBlocks.take(60 * KIB)
    buffer.append(bytes)
    buffer.next()
    return { buffer, bytes }
  }

  it('is used again when the other side has the bytes', () => {
    const { buffer, bytes } = written()
    expect(buffer.acknowledge(60 * KIB, 0)).toBe(true)
    expect(writeBlocks.take(60 * KIB).buffer).toBe(bytes.buffer)
  })

  it('is not while the connection still reads from it, whatever the other side says it has', () => {
    const { buffer, bytes } = written()
    expect(buffer.acknowledge(60 * KIB, 1)).toBe(true)
    expect(writeBlocks.take(60 * KIB).buffer).not.toBe(bytes.buffer)
  })

  it('is not after the connection was lost: nobody knows what the old one still reads', () => {
    const { buffer, bytes } = written()
    expect(buffer.rewind(60 * KIB)).toBe(true)
    expect(writeBlocks.take(60 * KIB).buffer).not.toBe(bytes.buffer)
  })

  it('is a buffer of its own for what fills less than half a block, or more than one', () => {
    const pool = new BlockPool(KIB)
    for (const length of [0, 511, 1_025]) pool.giveBack(pool.take(length))
    expect(pool.free).toBe(0)
    pool.giveBack(pool.take(512))
    expect(pool.free).toBe(1)
  })

  it('is kept up to a bound, and taken back only once', () => {
    const pool = new BlockPool(KIB)
    const blocks = Array.from({ length: 100 }, () => pool.take(KIB))
    for (const block of [...blocks, ...blocks, Buffer.alloc(KIB)]) pool.giveBack(block)
    expect(pool.free).toBe(64)
    const again = new Set(Array.from({ length: 64 }, () => pool.take(KIB).buffer))
    expect(again.size).toBe(64)
  })
})

describe('a resumable transport', () => {
  it('says that it is full at its bound and drains when the other side acknowledges', () => {
    const { transport, seen } = started({ maxReplayBytes: MIB })
    const connection = sink()
    void transport.attach(connection.carrier, 0)
    let written = 0
    while (transport.write(Buffer.alloc(64 * KIB))) written += 64 * KIB
    expect(written + 64 * KIB).toBe(MIB)
    connection.late()?.onText(`${64 * KIB}`)
    expect([seen.drains, transport.bytesInFlight]).toEqual([1, MIB - 64 * KIB])
    expect(transport.write(Buffer.alloc(64 * KIB))).toBe(false)
    transport.destroy('done')
    expect(transport.bytesInFlight).toBe(0)
  })

  it('counts no byte of a connection that it has left: detach comes before the count', () => {
    const { transport, seen } = started()
    const old = sink()
    void transport.attach(old.carrier, 0)
    old.late()?.onBytes(Buffer.alloc(100))
    transport.detach('dialling again')
    const stated = transport.received
    old.late()?.onBytes(Buffer.alloc(50)) // was under way in our own process
    old.late()?.onText('0')
    old.late()?.onClose({ clean: true, message: 'too late' })
    expect([stated, transport.received, seen.bytes, seen.ends]).toEqual([100, 100, 100, []])
    const next = sink()
    void transport.attach(next.carrier, 0)
    next.late()?.onBytes(Buffer.alloc(50)) // the same bytes, replayed
    expect([transport.received, seen.bytes]).toEqual([150, 150])
    transport.destroy('done')
  })

  it('acknowledges at once when much has come', () => {
    const { transport } = started()
    const connection = sink()
    void transport.attach(connection.carrier, 0)
    connection.late()?.onBytes(Buffer.alloc(ACK_EVERY_BYTES - 1))
    expect(connection.texts).toEqual([])
    connection.late()?.onBytes(Buffer.alloc(1))
    expect(connection.texts).toEqual([`${ACK_EVERY_BYTES}`])
    transport.destroy('done')
  })

  it('leaves a little for everybody when the bulk of some has used up what all may hold', () => {
    const budget = new ReplayBudget(8 * MIB)
    const greedy = Array.from({ length: 4 }, () => started({ budget }))
    for (const { transport } of greedy) {
      void transport.attach(sink().carrier, 0)
      while (transport.write(Buffer.alloc(64 * KIB)));
    }
    expect(budget.usedBytes).toBeLessThanOrEqual(6 * MIB + 4 * (RESERVE_PER_TUNNEL_BYTES + 64 * KIB))
    const modest = started({ budget })
    const connection = sink()
    void modest.transport.attach(connection.carrier, 0)
    for (let i = 0; i < 100; i += 1) expect(modest.transport.write(Buffer.alloc(100))).toBe(true)
    expect(connection.total()).toBe(10_000)
    while (modest.transport.write(Buffer.alloc(KIB)));
    expect(modest.transport.bytesInFlight).toBeLessThanOrEqual(RESERVE_PER_TUNNEL_BYTES + KIB)
    for (const { transport } of greedy) transport.destroy('done')
    expect(modest.seen.drains).toBe(1) // whoever waited is told
    modest.transport.destroy('done')
    expect(budget.usedBytes).toBe(0)
  })

  it('does not drain beyond what a slow connection takes after a resume, and loses nothing', () => {
    const { transport, seen } = started()
    expect(transport.write(Buffer.from('a'))).toBe(false)
    const connection = sink()
    void transport.attach(connection.carrier, 0)
    expect([seen.drains, connection.bytes().toString()]).toEqual([1, 'a'])
    transport.detach('cut')
    transport.write(Buffer.from('b'))
    const next = sink()
    void transport.attach(next.carrier, 0)
    expect(next.bytes().toString()).toBe('ab')
    expect(connection.isDetached()).toBe(true)
    transport.destroy('done')
    expect(next.isDetached()).toBe(true)
  })
})
