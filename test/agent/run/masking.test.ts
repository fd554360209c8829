import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MaskedEvents } from '../../../agent/run/masked-events.ts'
import { MaskedText } from '../../../agent/run/masked-text.ts'
import { createFinder, createMask } from '../../../agent/run/masking.ts'
import { SecretFinder } from '../../../agent/run/secret-finder.ts'
import type { EventBody } from '../../../protocol/event.ts'

test('a secret is masked wherever it stands in an event', () => {
  const mask = createMask({ KEY: 'sk-12345678', CERT: 'line one of it\nline two of it' })
  const event = { type: 'output', text: 'key=sk-12345678 and line two of it', deep: [{ 'sk-12345678': 1 }] }
  expect(JSON.stringify(mask(event))).not.toMatch(/sk-12345678|line two of it/)
  expect(mask(event)).toMatchObject({ text: 'key=*** and ***' })
})

test('a secret that holds another is masked whole', () => {
  const mask = createMask({ A: 'abcdef', B: 'abcdefghij' })
  expect(mask('x abcdefghij y abcdef z')).toBe('x *** y *** z')
})

test('characters of regular expressions in a secret mean themselves', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 6 }), fc.string(), fc.string(), (secret, before, after) => {
      const trimmed = secret.trim()
      fc.pre(trimmed.length >= 6 && !trimmed.includes('\n') && !trimmed.includes('***'))
      expect(createMask({ S: secret })(`${before}${trimmed}${after}`)).toContain('***')
    }),
  )
})

test('secrets that overlap leave nothing of each other', () => {
  const mask = createMask({ A: 'abcdefgh', B: 'efghijkl' })
  expect(mask('x abcdefghijkl y')).toBe('x *** y')
})

test('a secret as long as may be is masked, also one that repeats itself', () => {
  const long = Array.from({ length: 10_000 }, (_, n) => `${n}`.padStart(9, '#')).join('-')
  expect(createMask({ S: long })({ text: `a ${long} b` })).toEqual({ text: 'a *** b' })
  const same = 'x'.repeat(100_000)
  const mask = createMask({ S: same })
  for (let n = 0; n < 200; n++) expect(mask(`a ${same} b`)).toBe('a *** b')
})

test('a secret of thousands of lines is masked line by line, in many events', () => {
  const line = (n: number) => `line ${n} of the secret`
  const mask = createMask({ S: Array.from({ length: 5_000 }, (_, n) => line(n)).join('\n') })
  const harmless = 'nothing of it stands here. '.repeat(2_000)
  for (let n = 0; n < 500; n++) expect(mask(harmless)).toBe(harmless)
  expect(mask(`${harmless}${line(4_321)}`)).toBe(`${harmless}***`)
})

const VALUES = ['abcdefg', 'defghijk', 'abcdefgxyz', 'qrstuv']
const fragments = fc.constantFrom(...VALUES, 'abc', 'abcdef', 'defghi', 'ghijk', 'xyz', 'q', 'rstuv', 'z', '\n', '*')

test('text in pieces is masked as if it came at once', () => {
  const finder = new SecretFinder(VALUES)
  const mask = createMask(Object.fromEntries(VALUES.map((value, n) => [`S${n}`, value])))
  fc.assert(
    fc.property(fc.array(fragments, { maxLength: 20 }), fc.array(fc.nat(12)), (parts, cuts) => {
      const text = parts.join('')
      const masked = new MaskedText(finder)
      let said = ''
      let at = 0
      for (const length of cuts) {
        said += masked.push(text.slice(at, at + length))
        at = Math.min(text.length, at + length)
      }
      said += masked.push(text.slice(at)) + masked.flush()
      expect(said).toBe(mask(text))
    }),
    { numRuns: 2_000 },
  )
})

test('no more is held back than could begin a secret', () => {
  const masked = new MaskedText(new SecretFinder(['abcdefghij']))
  expect(masked.push('harmless')).toBe('harmless')
  expect(masked.push('abcabcdefghi')).toBe('abc')
  expect(masked.push('!')).toBe('abcdefghi!')
})

const output = (
  text: string,
  channel: 'stdout' | 'stderr' = 'stdout',
  step: 'setup' | 'agent' = 'agent',
): EventBody => ({
  type: 'output',
  step,
  channel,
  text,
})

test('a secret that two outputs of a channel share is masked, and other channels go on meanwhile', () => {
  const events = new MaskedEvents(createFinder({ KEY: 'sk-12345678' }))
  expect(events.push(output('key: sk-123'))).toEqual([output('key: ')])
  expect(events.push(output('fine\n', 'stderr'))).toEqual([output('fine\n', 'stderr')])
  expect(events.push(output('45', 'stdout', 'setup'))).toEqual([output('45', 'stdout', 'setup')])
  expect(events.push(output('45678\n'))).toEqual([output('***\n')])
})

test('what was held back is said before its step or the turn ends', () => {
  const events = new MaskedEvents(createFinder({ KEY: 'sk-12345678' }))
  const done: EventBody = { type: 'step', step: 'agent', status: 'done' }
  expect(events.push(output('task'))).toEqual([output('ta')])
  expect(events.push({ type: 'step', step: 'setup', status: 'done' })).toHaveLength(1)
  expect(events.push(done)).toEqual([output('sk'), done])
  events.push(output('sk-', 'stderr'))
  const ended: EventBody = { type: 'warning', message: 'says sk-12345678' }
  expect(events.push(ended)).toEqual([{ type: 'warning', message: 'says ***' }])
  expect(events.push(done)).toEqual([output('sk-', 'stderr'), done])
})
