/** The soak run's own measures: what they must find, they find. */
import { describe, expect, test } from 'vitest'
import type { TaskEvent } from '../../protocol/event.ts'
import { checkEvents } from './attachments/events.ts'
import { Expected } from './attachments/expected.ts'
import { MIN_ATTACHMENTS, share } from './attachments/fleet.ts'
import { baselineOf, type Echo, quantile, recoveryOf } from './attachments/recovery.ts'
import { planStorm } from './attachments/schedule.ts'

describe('expected bytes', () => {
  const expecting = (...records: string[]) => {
    const expected = new Expected('it')
    for (const record of records) expected.expect(Buffer.from(record))
    return expected
  }

  test('may come in any pieces, and each record is told when it is whole', () => {
    for (let size = 1; size <= 9; size++) {
      const expected = new Expected('it')
      const whole: number[] = []
      for (const n of [1, 2, 3]) expected.expect(Buffer.from(`r ${n}`), () => whole.push(n))
      const bytes = Buffer.from('r 1r 2r 3')
      for (let at = 0; at < bytes.length; at += size) expected.accept(bytes.subarray(at, at + size))
      expected.end()
      expect([whole, expected.received, expected.outstanding]).toEqual([[1, 2, 3], 9, 0])
    }
  })

  test.each([
    ['a byte that is missing', 'one\ntw\n', /byte 6 is wrong/],
    ['a byte that is repeated', 'one\ntwwo\n', /byte 6 is wrong/],
    ['a record that is repeated', 'one\none\n', /byte 4 is wrong: got "one/],
    ['more than was due', 'one\ntwo\nt', /byte 8 came although no more was due/],
  ])('%s is a fault', (_, text, fault) => {
    expect(() => expecting('one\n', 'two\n').accept(Buffer.from(text))).toThrow(fault)
  })

  test('an end before the last byte is a fault', () => {
    const expected = expecting('one\n', 'two\n')
    expected.accept(Buffer.from('one\ntw'))
    expect(() => expected.end()).toThrow('ended after 6 bytes, 2 are missing')
  })
})

describe('events', () => {
  const output = (seq: number, text: string): TaskEvent => ({
    seq,
    source: 'agent',
    at: new Date(0).toISOString(),
    turn: 1,
    type: 'output',
    step: 'agent',
    channel: 'stdout',
    text,
  })

  test('text may be cut anywhere', () => {
    const check = checkEvents('it', 4)
    for (const event of [output(5, 'tick 8\nti'), output(6, 'ck 9\n'), output(7, 'tick 10\n')]) check(event)
    expect(check.count()).toBe(3)
  })

  test.each([
    ['an event that is missing', [output(1, 'tick 1\n'), output(3, 'tick 2\n')], /event 3 came after 1/],
    ['an event that is repeated', [output(1, 'tick 1\n'), output(1, 'tick 1\n')], /event 1 came after 1/],
    ['a line that is missing', [output(1, 'tick 1\n'), output(2, 'tick 3\n')], /byte 11 is wrong/],
    ['a line that is repeated', [output(1, 'tick 1\n'), output(2, 'tick 1\n')], /byte 11 is wrong/],
  ])('%s is a fault', (_, events, fault) => {
    const check = checkEvents('it', 0)
    expect(() => events.forEach(check)).toThrow(fault)
  })
})

describe('recovery', () => {
  /** A record each 10 ms, whose echoes are quick except between `from` and `to`, when they wait for `to`. */
  const echoes = (from: number, to: number): Echo[] =>
    Array.from({ length: 1_000 }, (_, n) => n * 10).map((sentAtMs) => ({
      sentAtMs,
      tookMs: sentAtMs >= from && sentAtMs < to ? to - sentAtMs + 5 : 5,
    }))

  test('is counted from the end of the disturbance to the first record that need not wait', () => {
    const all = echoes(3_000, 5_000)
    const { limitMs } = baselineOf(all, { fromMs: 0, toMs: 3_000 })
    expect(limitMs).toBe(100)
    const recovery = recoveryOf(all, { overAtMs: 3_000, untilMs: undefined, limitMs })
    expect(recovery.kind).toBe('back')
    expect(recovery.afterMs).toBeGreaterThan(2_000 - limitMs - 50)
    expect(recovery.afterMs).toBeLessThanOrEqual(2_000)
  })

  test('is not made to look good by a machine that was busy before the storm', () => {
    const all = echoes(0, 3_000)
    expect(baselineOf(all, { fromMs: 0, toMs: 3_000 }).limitMs).toBe(100)
    expect(() => baselineOf([], { fromMs: 0, toMs: 3_000 })).toThrow('no echo')
  })

  test('that was not seen before the next disturbance is overtaken, and without one it never came', () => {
    const all = echoes(3_000, 9_900)
    expect(recoveryOf(all, { overAtMs: 3_000, untilMs: 4_000, limitMs: 100 })).toEqual({
      kind: 'overtaken',
      afterMs: 1_000,
    })
    expect(recoveryOf(all, { overAtMs: 3_000, untilMs: undefined, limitMs: 100 }).kind).toBe('never')
  })

  test('one slow record of fifty is too many, one of a hundred is not', () => {
    expect(quantile([...Array(49).fill(1), 1_000], 0.99)).toBe(1_000)
    expect(quantile([...Array(99).fill(1), 1_000], 0.99)).toBe(1)
  })
})

test('the same seed plans the same storm, another seed another', () => {
  const options = { seconds: 60, cuts: 50, kills: 3 }
  expect(planStorm({ ...options, seed: 1 })).toEqual(planStorm({ ...options, seed: 1 }))
  expect(planStorm({ ...options, seed: 1 })).not.toEqual(planStorm({ ...options, seed: 2 }))
  const kinds = planStorm({ ...options, seed: 1 }).map(({ kind }) => kind)
  expect(kinds.filter((kind) => kind === 'kill')).toHaveLength(3)
  expect(kinds.filter((kind) => kind !== 'kill' && kind !== 'stall')).toHaveLength(50)
})

test.each([MIN_ATTACHMENTS, 24, 100, 333])('%i attachments are shared out to all kinds', (attachments) => {
  const counts = Object.values(share(attachments))
  expect(counts.reduce((sum, count) => sum + count)).toBe(attachments)
  expect(Math.min(...counts)).toBeGreaterThan(0)
})
