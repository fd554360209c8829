/**
 * Bearer tokens: made once, shown once, kept as a hash. They hold 256 random bits, so a plain SHA-256 is enough: there
 * is nothing to guess.
 */
import { createHash, randomBytes } from 'node:crypto'
import type { GatewayConfig } from '../../protocol/config.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { newTokenId, type TokenId } from '../../protocol/ids.ts'
import type { TokenLimits } from '../../protocol/limits.ts'
import type { Role, Scope } from '../../protocol/route.ts'
import { formatSeconds } from '../../protocol/units.ts'
import type { Store, StoredToken } from '../store/store.ts'

/** `last used` is written at most this often per token. */
const TOUCH_INTERVAL_MS = 60_000

export const TOKEN_PREFIX = 'rct_'

/** Who makes a request. */
export interface Principal {
  user: string
  role: Role
  tokenId: TokenId
  tokenName: string
  /** Undefined for all that the role may do. */
  scope: readonly Scope[] | undefined
  /** When the value that was sent stops being valid, in ms since the epoch. */
  expiresAtMs: number | undefined
  /** It came with the value that the token had before it was rotated. */
  isOldValue: boolean
}

export const hashSecret = (secret: string): string => createHash('sha256').update(secret).digest('hex')
export const newSecret = (): string => randomBytes(32).toString('base64url')

export interface NewToken {
  name: string
  user: string
  role: Role
  scope?: readonly Scope[] | undefined
  /** 0 or nothing: for ever. */
  expiresInSeconds?: number | undefined
  limits?: TokenLimits | undefined
}

/** @returns the row to store and the token's value, which nobody can read again */
export function makeToken(request: NewToken, now = Date.now()): { token: StoredToken; secret: string } {
  const secret = TOKEN_PREFIX + newSecret()
  const token: StoredToken = {
    id: newTokenId(),
    hash: hashSecret(secret),
    name: request.name,
    user: request.user,
    role: request.role,
    createdAt: new Date(now).toISOString(),
    ...(request.scope && { scope: [...new Set(request.scope)] }),
    ...(request.expiresInSeconds && { expiresAt: expiry(request.expiresInSeconds, now) }),
    ...(request.limits !== undefined && Object.keys(request.limits).length > 0 && { limits: request.limits }),
  }
  return { token, secret }
}

const expiry = (seconds: number, now: number): string => new Date(now + seconds * 1000).toISOString()

type Limits = Pick<GatewayConfig['limits'], 'tokenLifetime' | 'tokenMaxLifetime' | 'tokenGrace'>

/**
 * @param asked in seconds, 0 for ever; undefined for the default
 * @throws RclaudeError `invalid` when it is longer than allowed
 */
export function lifetimeSeconds(limits: Limits, asked: number | undefined): number {
  const longest = limits.tokenMaxLifetime || Number.POSITIVE_INFINITY
  if (asked === undefined) {
    const seconds = Math.min(limits.tokenLifetime || Number.POSITIVE_INFINITY, longest)
    return Number.isFinite(seconds) ? seconds : 0
  }
  if ((asked || Number.POSITIVE_INFINITY) <= longest) return asked
  throw new RclaudeError(
    'invalid',
    `a token may live for ${formatSeconds(longest)} at most (limits.tokenMaxLifetime)${asked === 0 ? ', so it cannot live for ever' : ''}`,
  )
}

/**
 * A new value for a token. The new one lives as long as the first was meant to, unless said; the old one is taken for a
 * grace, but never longer than it would have been.
 * @throws RclaudeError `not_found` or `invalid`
 */
export function rotateToken(
  store: Store,
  limits: Limits,
  tokenId: TokenId,
  asked: { expiresInSeconds?: number | undefined; graceSeconds?: number | undefined },
  now = Date.now(),
): { token: StoredToken; secret: string } {
  const token = store.getToken(tokenId)
  const secret = TOKEN_PREFIX + newSecret()
  const { expiresInSeconds } = asked
  const seconds =
    expiresInSeconds === undefined ? firstLifetime(token, limits) : lifetimeSeconds(limits, expiresInSeconds)
  const oldUntilMs = Math.min(now + (asked.graceSeconds ?? limits.tokenGrace) * 1000, endOf(token?.expiresAt))
  const rotated = store.rotateToken(tokenId, {
    hash: hashSecret(secret),
    at: new Date(now).toISOString(),
    expiresAt: seconds ? expiry(seconds, now) : undefined,
    previousUntil: new Date(oldUntilMs).toISOString(),
  })
  if (rotated === undefined) throw new RclaudeError('not_found', `there is no valid token ${tokenId}`)
  return { token: rotated, secret }
}

/** What it was made with, cut to what is allowed by now; a token for ever, like the first one, stays that. */
function firstLifetime(token: StoredToken | undefined, limits: Limits): number {
  if (token?.expiresAt === undefined) return 0
  const seconds = Math.ceil((Date.parse(token.expiresAt) - Date.parse(token.rotatedAt ?? token.createdAt)) / 1000)
  return limits.tokenMaxLifetime === 0 ? seconds : Math.min(seconds, limits.tokenMaxLifetime)
}

const endOf = (at: string | undefined): number => (at === undefined ? Number.POSITIVE_INFINITY : Date.parse(at))

/** @throws RclaudeError `unauthenticated`, with the same words whatever is wrong with an unknown token */
export function authenticate(store: Store, authorization: string | undefined, now = Date.now()): Principal {
  const secret = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(authorization ?? '')?.[1]
  return authenticateHash(store, secret === undefined ? undefined : hashSecret(secret), now)
}

/** The same for a hash that we know ourselves to be of a token that was shown. */
export function authenticateHash(store: Store, hash: string | undefined, now = Date.now()): Principal {
  const token = hash === undefined ? undefined : store.findToken(hash)
  if (token === undefined || token.revokedAt !== undefined)
    throw new RclaudeError(
      'unauthenticated',
      'no valid token: send "Authorization: Bearer TOKEN", or run rclaude login',
    )
  const isOldValue = token.hash !== hash
  const endsAtMs = isOldValue ? endOf(token.previousUntil) : endOf(token.expiresAt)
  if (isOldValue && endsAtMs <= now)
    throw new RclaudeError('unauthenticated', `the token "${token.name}" was rotated: use its new value`)
  if (endsAtMs <= now)
    throw new RclaudeError('unauthenticated', `the token "${token.name}" expired at ${token.expiresAt}`)
  if (now - Date.parse(token.lastUsedAt ?? '1970-01-01T00:00:00Z') > TOUCH_INTERVAL_MS) touch(store, token.id, now)
  return {
    user: token.user,
    role: token.role,
    tokenId: token.id,
    tokenName: token.name,
    scope: token.scope,
    expiresAtMs: Number.isFinite(endsAtMs) ? endsAtMs : undefined,
    isOldValue,
  }
}

/** Not worth a refusal: with a full disk people must still be able to look, and to delete. */
function touch(store: Store, tokenId: TokenId, now: number): void {
  try {
    store.touchToken(tokenId, new Date(now).toISOString())
  } catch (error) {
    if (!(error instanceof RclaudeError && error.code === 'disk_full')) throw error
  }
}
