// What streams carry: the byte at position p is the pattern's at p modulo 64 KiB, so that a byte that is lost, repeated or
// moved shows at once.

import { Random } from './random.ts'

const PERIOD = 64 * 1024
export const PATTERN_MASK = PERIOD - 1
const period = new Random(7).bytes(PERIOD)
/** Twice the period: any slice of up to 64 KiB lies in one piece. */
export const PATTERN = Buffer.concat([period, period])

/** `length` bytes (at most 64 KiB) from `position` on. */
export function patternAt(position: number, length: number): Buffer {
  const from = position & PATTERN_MASK
  return PATTERN.subarray(from, from + length)
}
