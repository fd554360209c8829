import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createMask } from '../../../agent/run/masking.ts'

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
