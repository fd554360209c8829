import { describe, expect, it } from 'vitest'
import { readOptions } from '../../bench/tunnel/options.ts'
import { interleave, median, percentile } from '../../bench/tunnel/stats.ts'
import { atLeast, atMost, missesIn, printTable, type Table } from '../../bench/tunnel/table.ts'

describe('the numbers of the bench', () => {
  it('are nearest ranks', () => {
    expect(median([3, 1, 2])).toBe(2)
    expect(median([4, 1, 2, 3])).toBe(2)
    const hundred = Array.from({ length: 100 }, (_, n) => 100 - n)
    expect(percentile(hundred, 99)).toBe(99)
    expect(percentile([5], 99)).toBe(5)
    expect(percentile([], 50)).toBeNaN()
  })

  it('come from cases that take turns, after a warm-up that does not count', async () => {
    const order: string[] = []
    const named = (name: string) => ({ name, run: async () => order.push(name) })
    const samples = await interleave([named('a'), named('b')], 2, new AbortController().signal)
    expect(order).toEqual(['a', 'b', 'a', 'b', 'b', 'a'])
    expect(samples.get('a')).toEqual([3, 6])
  })

  it('stop when they are told to', async () => {
    const stopping = new AbortController()
    const one = { name: 'a', run: async () => stopping.abort(new Error('enough')) }
    await expect(interleave([one], 5, stopping.signal)).rejects.toThrow('enough')
  })
})

describe('a table of the bench', () => {
  const table: Table = {
    name: 'bytes',
    title: 'BYTES',
    columns: ['row', 'MB/s'],
    rows: [
      { cells: ['ours', '10'], reach: [atLeast(1.19, 1.2, ' x ssh'), atMost(1, 2, ' s')] },
      { cells: ['theirs'] },
      { cells: ['fast', '1000'], reach: [atLeast(1.2, 1.2, ' x ssh')] },
    ],
    notes: ['a note'],
  }

  it('ends a row with MISS when one of its numbers is not reached', () => {
    expect(printTable(table).split('\n')).toEqual([
      'BYTES',
      'row     MB/s  to reach',
      'ours      10  >= 1.2 x ssh, <= 2 s  MISS',
      'theirs     -',
      'fast    1000  >= 1.2 x ssh',
      '  a note',
    ])
    expect(missesIn([table])).toEqual(['bytes: ours (>= 1.2 x ssh, <= 2 s)'])
  })

  it('takes a number that could not be measured for a miss', () => {
    expect(atLeast(Number.NaN, 1, '').isReached).toBe(false)
    expect(atMost(Number.NaN, 1, '').isReached).toBe(false)
  })
})

describe('options of the bench', () => {
  it('have defaults, and smaller ones for --quick', () => {
    expect(readOptions([])).toMatchObject({ runs: 5, size: 1_000_000_000, quick: false })
    expect(readOptions(['--quick'])).toMatchObject({ runs: 2, size: 50_000_000 })
    expect(readOptions(['--quick', '--size', '2000000', '--only', 'echo,exec'])).toMatchObject({
      only: ['echo', 'exec'],
      size: 2_000_000,
      part: 2_000_000,
    })
  })

  it('are refused with what is wrong', () => {
    expect(() => readOptions(['--only', 'speed'])).toThrow('--only speed: there is no such part')
    expect(() => readOptions(['--runs', '0'])).toThrow('--runs 0: expected a whole number from 1 to 100')
  })
})
