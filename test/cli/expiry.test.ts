import { expect, test } from 'vitest'
import { watchExpiry } from '../../cli/expiry.ts'
import { EXPIRES_HEADER } from '../../protocol/version.ts'

const NOW = Date.parse('2026-01-01T00:00:00Z')
const DAY_MS = 86_400_000

/** What is said after two answers that carry this header. */
async function said(expiresAtMs: number | undefined): Promise<string[]> {
  const texts: string[] = []
  const headers: Record<string, string> =
    expiresAtMs === undefined ? {} : { [EXPIRES_HEADER]: new Date(expiresAtMs).toISOString() }
  const ask = watchExpiry(
    (text) => texts.push(text),
    async () => new Response('', { headers }),
    () => NOW,
  )
  for (let n = 0; n < 2; n++) await ask('http://gateway.example')
  return texts
}

test('a token that ends within seven days is told once, any other not at all', async () => {
  expect(await said(NOW + 7 * DAY_MS - 1)).toEqual([expect.stringContaining('2026-01-07T23:59:59.999Z')])
  expect(await said(NOW + 7 * DAY_MS)).toEqual([])
  expect(await said(undefined)).toEqual([])
})
