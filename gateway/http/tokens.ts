/** Tokens and the audit log. */

import { RclaudeError } from '../../protocol/errors.ts'
import { TokenId } from '../../protocol/ids.ts'
import type { Scope } from '../../protocol/route.ts'
import type { Token } from '../../protocol/routes.ts'
import { lifetimeSeconds, makeToken, type Principal, rotateToken } from '../auth/tokens.ts'
import type { StoredToken } from '../store/store.ts'
import { isoNow } from '../tasks/context.ts'
import { type Handlers, principalOf } from './context.ts'

export const tokenHandlers: Pick<Handlers, 'createToken' | 'listTokens' | 'rotateToken' | 'revokeToken' | 'listAudit'> =
  {
    createToken(call) {
      const { c, deps, body } = call
      mustNotWiden(principalOf(call), body.scope)
      const expiresInSeconds = lifetimeSeconds(deps.config.limits, body.expiresInSeconds)
      const { token, secret } = makeToken({ ...body, expiresInSeconds })
      deps.store.insertToken(token)
      return c.json({ token: withoutHash(token), secret }, 201)
    },
    listTokens: ({ c, deps }) => c.json({ tokens: deps.store.listTokens().map(withoutHash) }),
    rotateToken(call) {
      const { c, deps, body } = call
      const tokenId = TokenId.safeParse(c.req.param('tokenId'))
      const old = tokenId.success ? deps.store.getToken(tokenId.data) : undefined
      if (old === undefined) throw noToken(c.req.param('tokenId'))
      mustNotWiden(principalOf(call), old.scope)
      const { token, secret } = rotateToken(deps.store, deps.config.limits, old.id, body)
      deps.connections.rotated(token.id, Date.parse(token.previousUntil ?? ''))
      deps.keepAdminToken(old.hash, secret)
      return c.json({ token: withoutHash(token), secret })
    },
    revokeToken({ c, deps }) {
      const tokenId = TokenId.safeParse(c.req.param('tokenId'))
      if (!tokenId.success || !deps.store.revokeToken(tokenId.data, isoNow())) throw noToken(c.req.param('tokenId'))
      deps.connections.closeAll(tokenId.data, c.env.outgoing) // but for this answer
      return c.body(null, 204)
    },
    listAudit({ c, deps, query }) {
      const before = query.cursor === undefined ? undefined : Number(query.cursor)
      if (before !== undefined && !Number.isInteger(before))
        throw new RclaudeError('invalid', 'the cursor is not one of ours')
      const rows = deps.store.listAudit({ taskId: query.taskId, limit: query.limit, before })
      const last = rows.at(-1)
      return c.json({ rows, ...(rows.length === query.limit && last && { nextCursor: String(last.id) }) })
    },
  }

function withoutHash({ hash: _, previousHash: __, ...token }: StoredToken): Token {
  return token
}

const noToken = (id: string | undefined) =>
  new RclaudeError('not_found', `there is no valid token ${String(id).slice(0, 60)}`)

/** A narrowed token hands out nothing that it may not do itself. */
function mustNotWiden({ tokenName, scope }: Principal, wanted: readonly Scope[] | undefined): void {
  if (scope === undefined || wanted?.every((one) => scope.includes(one))) return
  throw new RclaudeError(
    'forbidden',
    `the token "${tokenName}" is narrowed to ${scope.join(', ')}: it gives a value to no token with a wider scope`,
  )
}
