import fc from 'fast-check'
import { expect, test } from 'vitest'
import { neutralise, oneLine, safeJson, truncate, width } from '../../cli/neutralise.ts'

test('an escape sequence is shown, not sent', () => {
  expect(neutralise('a\u001b]0;title\u0007b')).toBe('a^[]0;title^Gb')
  expect(neutralise('\u001b[2J\u001b[1;1Hgone?')).toBe('^[[2J^[[1;1Hgone?')
  expect(neutralise('\u009b31m\u009d0;x\u009c')).toBe('<U+009D>0;x<U+009C>')
})

test('colours are dropped, and dropping them makes no new sequence', () => {
  expect(neutralise('\u001b[1;31mred\u001b[0m')).toBe('red')
  expect(neutralise('\u001b\u001b[0m[2J')).toBe('^[[2J')
})

test('a carriage return cannot overwrite what stands before it', () => {
  expect(neutralise('rm -rf /\rls       ')).toBe('rm -rf /\nls       ')
  expect(neutralise('one\r\ntwo')).toBe('one\ntwo')
})

test('characters that reorder or hide text are shown', () => {
  expect(neutralise('a\u202eb\u2066c\u200bd')).toBe('a<U+202E>b<U+2066>c<U+200B>d')
})

test('no text whatever leaves a control character but tab and newline', () => {
  const anything = fc.string({ unit: fc.integer({ min: 0, max: 0x2fff }).map((code) => String.fromCodePoint(code)) })
  fc.assert(
    fc.property(anything, (text) => {
      expect(neutralise(text)).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/)
    }),
  )
})

test('JSON holds no control character and parses to the same value', () => {
  const anything = fc.string({ unit: fc.integer({ min: 0, max: 0x2fff }).map((code) => String.fromCodePoint(code)) })
  fc.assert(
    fc.property(anything, (text) => {
      const json = safeJson({ text })
      expect(json).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/)
      expect(JSON.parse(json)).toEqual({ text })
    }),
  )
})

test('a line is cut to the columns it has, wide characters counted as two', () => {
  expect(oneLine('  one\n\ttwo  ')).toBe('one two')
  expect(width('日本e\u0301')).toBe(5)
  expect(truncate('日本語です', 6)).toBe('日本…')
  expect(truncate('short', 5)).toBe('short')
  fc.assert(
    fc.property(fc.string(), fc.integer({ min: 1, max: 40 }), (text, max) => {
      expect(width(truncate(neutralise(text), max))).toBeLessThanOrEqual(max)
    }),
  )
})
