import fc from 'fast-check'
import { expect, it } from 'vitest'
import { mask, unmask } from '../../tunnel/mask.ts'

const byByte = (source: Buffer, key: Buffer): Buffer =>
  Buffer.from(source.map((byte, index) => byte ^ (key[index % 4] ?? 0)))

it('masks and unmasks as the specification says, wherever the bytes lie in memory', () => {
  const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array))
  const key = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((array) => Buffer.from(array))
  const shift = fc.integer({ min: 0, max: 7 })
  fc.assert(
    fc.property(bytes, key, shift, shift, (source, maskKey, before, offset) => {
      const memory = Buffer.alloc(before + offset + source.length + 5, 0xee)
      const output = memory.subarray(before)
      mask(source, maskKey, output, offset, source.length)
      expect(output.subarray(offset, offset + source.length).equals(byByte(source, maskKey))).toBe(true)
      expect(memory.subarray(0, before + offset).every((byte) => byte === 0xee)).toBe(true)
      expect(memory.subarray(before + offset + source.length).every((byte) => byte === 0xee)).toBe(true)
      const masked = output.subarray(offset, offset + source.length)
      unmask(masked, maskKey)
      expect(masked.equals(source)).toBe(true)
    }),
    { numRuns: 500 },
  )
})
