import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ByteQueue, withoutPinning } from '../../tunnel/byte-queue.ts'

describe('ByteQueue', () => {
  it('gives back the bytes in order, however they are put in and taken', () => {
    const size = (max: number) => fc.oneof(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 0, max }))
    const step = fc.oneof(
      fc.record({ op: fc.constantFrom('append', 'appendCompact'), size: size(6_000) }),
      fc.record({ op: fc.constant('take'), size: size(9_000) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const queue = new ByteQueue()
        let model = Buffer.alloc(0)
        let next = 0
        for (const { op, size } of steps) {
          if (op === 'take') {
            const taken = queue.take(size)
            expect(taken.length).toBeLessThanOrEqual(size)
            if (size > 0 && model.length > 0) expect(taken.length).toBeGreaterThan(0)
            expect(taken.equals(model.subarray(0, taken.length))).toBe(true)
            model = model.subarray(taken.length)
          } else {
            const bytes = Buffer.from(Array.from({ length: size }, () => next++ & 0xff))
            if (op === 'append') queue.append(bytes)
            else queue.appendCompact(bytes)
            model = Buffer.concat([model, bytes])
          }
          expect(queue.length).toBe(model.length)
        }
      }),
      { numRuns: 200 },
    )
  })

  it('holds little more than the bytes when they come one by one out of big buffers', () => {
    const queue = new ByteQueue()
    for (let i = 0; i < 10_000; i += 1) queue.appendCompact(Buffer.alloc(64 * 1024).subarray(i, i + 1))
    let pieces = 0
    const backing = new Set<ArrayBufferLike>()
    while (queue.length > 0) {
      backing.add(queue.take(1 << 20).buffer)
      pieces += 1
    }
    const held = [...backing].reduce((sum, buffer) => sum + buffer.byteLength, 0)
    expect(held).toBeLessThan(32 * 1024)
    expect(pieces).toBeLessThan(20)
  })

  it('copies a slice only when it would keep a much bigger buffer alive', () => {
    const big = Buffer.alloc(64 * 1024)
    expect(withoutPinning(big.subarray(0, 16 * 1024)).buffer).toBe(big.buffer)
    expect(withoutPinning(big.subarray(0, 100)).buffer).not.toBe(big.buffer)
  })
})
