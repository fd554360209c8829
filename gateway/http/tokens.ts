/** Tokens and the audit log. */

import { RclaudeError } from '../../protocol/errors.ts'
import { TokenId } from '../../protocol/ids.ts'
import type { Token } from '../../protocol/routes.ts'
import { makeToken } from '../auth/tokens.ts'
import type { StoredToken } from '../store/store.ts'
import { isoNow } from '../tasks/context.ts'
import type { Handlers } from './context.ts'

export const tokenHandlers: Pick<Handlers, 'createToken' | 'listTokens' | 'revokeToken' | 'listAudit'> = {
  createToken({ c, deps, body }) {
    const { token, secret } = makeToken(body)
    deps.store.insertToken(token)
    return c.json({ token: withoutHash(token), secret }, 201)
  },
  listTokens: ({ c, deps }) => c.json({ tokens: deps.store.listTokens().map(withoutHash) }),
  revokeToken({ c, deps }) {
    const tokenId = TokenId.safeParse(c.req.param('tokenId'))
    if (!tokenId.success || !deps.store.revokeToken(tokenId.data, isoNow()))
      throw new RclaudeError('not_found', `there is no valid token ${String(c.req.param('tokenId')).slice(0, 60)}`)
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

function withoutHash({ hash: _, ...token }: StoredToken): Token {
  return token
}
