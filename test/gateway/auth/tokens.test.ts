import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { authenticate, makeToken, rotateToken } from '../../../gateway/auth/tokens.ts'
import { openStore } from '../../../gateway/store/sqlite.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

const LIMITS = { tokenLifetime: 86_400, tokenMaxLifetime: 86_400, tokenGrace: 60 }
const NOW = Date.parse('2026-01-01T00:00:00Z')
const DAY_MS = 86_400_000

function scene(expiresInSeconds?: number) {
  const store = openStore(join(temporaryDirectory(), 'gateway.db'))
  onTestFinished(() => store.close())
  const made = makeToken({ name: 'laptop', user: 'ana', role: 'member', expiresInSeconds }, NOW)
  store.insertToken(made.token)
  return { store, ...made, bearer: `Bearer ${made.secret}` }
}

test('the last use of a token is written once a minute at most', () => {
  const { store, token, bearer } = scene()
  const lastUse = (ms: number) => {
    authenticate(store, bearer, NOW + ms)
    return Date.parse(store.getToken(token.id)?.lastUsedAt ?? '') - NOW
  }
  expect([0, 1_000, 60_000, 60_001, 90_000, 120_002].map(lastUse)).toEqual([0, 0, 0, 60_001, 60_001, 120_002])
})

test('the old value of a rotated token is taken for the grace, but never longer than it would have lived', () => {
  const { store, token, bearer } = scene(86_400)
  rotateToken(store, LIMITS, token.id, {}, NOW + DAY_MS - 30_000)
  expect(authenticate(store, bearer, NOW + DAY_MS - 1)).toMatchObject({ isOldValue: true, expiresAtMs: NOW + DAY_MS })
  expect(() => authenticate(store, bearer, NOW + DAY_MS)).toThrow(/was rotated/)
})

test('a rotated token lives as long as it did before, counted anew, and a token for ever stays one', () => {
  const { store, token } = scene(3_600)
  for (const at of [NOW + 1_000, NOW + 2_000])
    expect(rotateToken(store, LIMITS, token.id, {}, at).token.expiresAt).toBe(new Date(at + 3_600_000).toISOString())
  const first = scene()
  expect(rotateToken(first.store, LIMITS, first.token.id, {}, NOW).token.expiresAt).toBeUndefined()
  expect(() => rotateToken(store, LIMITS, token.id, { expiresInSeconds: 86_401 }, NOW)).toThrow(/tokenMaxLifetime/)
})
