import fc from 'fast-check'
import { expect, test } from 'vitest'
import { encodingsOf } from '../../../agent/run/encodings.ts'
import { Leaks } from '../../../agent/run/leaks.ts'
import { createMask } from '../../../agent/run/masking.ts'

const SECRET = 'p4ss/w+rd="über" 99?'

const found = (leaks: Leaks, ...pieces: Array<string | Buffer>) => {
  const scan = leaks.scan()
  for (const piece of pieces) scan.push(Buffer.from(piece))
  return scan.end()
}

test('a secret is masked as JSON, in a URL, in a form, as hex and in any base64', () => {
  const mask = createMask({ S: SECRET })
  const forms: Array<[string, (text: string) => string]> = [
    ['json', (text) => JSON.stringify({ a: text })],
    ['url', (text) => `https://x.org/?q=${encodeURIComponent(text)}`],
    ['form', (text) => new URLSearchParams({ q: text }).toString()],
    ['hex', (text) => Buffer.from(text).toString('hex')],
    ['base64', (text) => Buffer.from(text).toString('base64')],
    ['basic', (text) => Buffer.from(`user:${text}`).toString('base64')],
    ['base64 of a line', (text) => Buffer.from(`ab${text}\n`).toString('base64')],
    ['base64url', (text) => Buffer.from(`x${text}y`).toString('base64url')],
  ]
  for (const [name, encode] of forms) expect(mask(encode(SECRET)), name).toContain('***')
  expect(mask('nothing of it')).toBe('nothing of it')
})

test('whatever stands around it, base64 of a secret holds one of its pieces', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 9 }),
      fc.string({ minLength: 10 }),
      fc.uint8Array(),
      (before, secret, after) => {
        const text = Buffer.concat([before, Buffer.from(secret), after]).toString('base64')
        expect(encodingsOf(Buffer.from(secret).toString()).some((piece) => text.includes(piece))).toBe(true)
      },
    ),
  )
})

test('a secret in a file is found with its name and line, however the file comes in pieces', () => {
  const leaks = new Leaks({ OTHER: 'something-else', KEY: 'hunter2-hunter2' })
  fc.assert(
    fc.property(fc.nat(40), fc.nat(40), (first, second) => {
      const text = 'one\ntwo ü\nkey = hunter2-hunter2\nfour'
      const bytes = Buffer.from(text)
      const [a, b] = [Math.min(first, second), Math.max(first, second)]
      const pieces = [bytes.subarray(0, a), bytes.subarray(a, b), bytes.subarray(b)]
      expect(found(leaks, ...pieces)).toEqual([{ secret: 'KEY', line: 3 }])
    }),
  )
  expect(found(leaks, 'hunter2', '-hunter3')).toEqual([])
})

test('each secret is told once, where it stands first', () => {
  const leaks = new Leaks({ A: 'aaaa-1111', B: 'bbbb-2222' })
  expect(found(leaks, 'bbbb-2222\n\naaaa-1111\nbbbb-2222\n')).toEqual([
    { secret: 'B', line: 1 },
    { secret: 'A', line: 3 },
  ])
})

test('short values and ordinary lines of a long secret cost nobody a file', () => {
  const pem = '-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n'
  const leaks = new Leaks({ SHORT: 'admin1', PEM: pem })
  expect(found(leaks, 'user: admin1\n-----BEGIN PRIVATE KEY-----\n')).toEqual([])
  expect(found(leaks, 'x\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n')).toEqual([{ secret: 'PEM', line: 2 }])
})

test('bytes that are no text are looked through as well', () => {
  const leaks = new Leaks({ KEY: 'schlüssel-0815' })
  const binary = Buffer.concat([Buffer.from([0, 0xff, 0xfe]), Buffer.from('schlüssel-0815'), Buffer.from([0x80])])
  expect(found(leaks, binary)).toEqual([{ secret: 'KEY', line: 1 }])
  expect(leaks.in('folder/schlüssel-0815.txt')?.secret).toBe('KEY')
})
