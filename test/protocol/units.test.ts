import { expect, test } from 'vitest'
import { formatBytes, formatSeconds, parseBytes, parseSeconds } from '../../protocol/units.ts'

test.each([
  ['90', 90],
  ['90s', 90],
  ['30m', 1_800],
  ['1h30m', 5_400],
  ['2d', 172_800],
  ['250ms', 0.25],
  ['1.5h', 5_400],
])('the duration %s is %d seconds', (text, seconds) => {
  expect(parseSeconds(text)).toBeCloseTo(seconds)
})

test.each(['', 'soon', '5 m', '-3s', '1h30', 'm'])('"%s" is no duration', (text) => {
  expect(parseSeconds(text)).toBeUndefined()
})

test('sizes are binary and need no unit', () => {
  expect(parseBytes('512')).toBe(512)
  expect(parseBytes('64MiB')).toBe(64 * 1024 ** 2)
  expect(parseBytes('1.5GiB')).toBe(1.5 * 1024 ** 3)
  expect(parseBytes('64MB')).toBeUndefined()
})

test('durations and sizes are shown as people read them', () => {
  expect([0.84, 12, 245, 3_725, 90_000].map(formatSeconds)).toEqual(['0.8s', '12s', '4m 05s', '1h 02m', '1d 01h'])
  expect([812, 1_500_000].map(formatBytes)).toEqual(['812 B', '1.4 MiB'])
})
