/**
 * Bearer tokens: made once, shown once, kept as a hash. They hold 256 random bits, so a plain SHA-256 is enough: there
 * is nothing to guess.
 */
import { createHash, randomBytes } from 'node:crypto'
import { RclaudeError } from '../../protocol/errors.ts'
import { newTokenId, type TokenId } from '../../protocol/ids.ts'
import type { TokenLimits } from '../../protocol/limits.ts'
import type { Role } from '../../protocol/route.ts'
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
  /** When the token stops being valid, in ms since the epoch. */
  expiresAtMs: number | undefined
}

export const hashSecret = (secret: string): string => createHash('sha256').update(secret).digest('hex')
export const newSecret = (): string => randomBytes(32).toString('base64url')

export interface NewToken {
  name: string
  user: string
  role: Role
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
    ...(request.expiresInSeconds !== undefined && {
      expiresAt: new Date(now + request.expiresInSeconds * 1000).toISOString(),
    }),
    ...(request.limits !== undefined && Object.keys(request.limits).length > 0 && { limits: request.limits }),
  }
  return { token, secret }
}

/** @throws RclaudeError `unauthenticated`, with the same words whatever is wrong with an unknown token */
export function authenticate(store: Store, authorization: string | undefined, now = Date.now()): Principal {
  const secret = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(authorization ?? '')?.[1]
  const token = secret === undefined ? undefined : store.findToken(hashSecret(secret))
  if (token === undefined || token.revokedAt !== undefined)
    throw new RclaudeError(
      'unauthenticated',
      'no valid token: send "Authorization: Bearer TOKEN", or run rclaude login',
    )
  const expiresAtMs = token.expiresAt === undefined ? undefined : Date.parse(token.expiresAt)
  if (expiresAtMs !== undefined && expiresAtMs <= now)
    throw new RclaudeError('unauthenticated', `the token "${token.name}" expired at ${token.expiresAt}`)
  if (now - Date.parse(token.lastUsedAt ?? '1970-01-01T00:00:00Z') > TOUCH_INTERVAL_MS) touch(store, token.id, now)
  return { user: token.user, role: token.role, tokenId: token.id, tokenName: token.name, expiresAtMs }
}

/** Not worth a refusal: with a full disk people must still be able to look, and to delete. */
function touch(store: Store, tokenId: TokenId, now: number): void {
  try {
    store.touchToken(tokenId, new Date(now).toISOString())
  } catch (error) {
    if (!(error instanceof RclaudeError && error.code === 'disk_full')) throw error
  }
}
