/** Tokens and the audit log. */

import type { TokenLimits } from '../../protocol/limits.ts'
import type { AuditRow } from '../../protocol/routes.ts'
import type { Database } from '../database.ts'
import type { Store, StoredToken } from './store.ts'

interface TokenRow {
  id: StoredToken['id']
  hash: string
  name: string
  user: string
  role: StoredToken['role']
  created_at: string
  expires_at: string | null
  last_used_at: string | null
  revoked_at: string | null
  scope: string | null
  rotated_at: string | null
  previous_hash: string | null
  previous_until: string | null
  /** JSON. */
  limits: string | null
}

interface AuditRecord {
  id: number
  at: string
  user: string
  token_id: string
  address: string
  action: string
  task_id: string | null
  request_id: string
  detail: string | null
}

type AccessPart = Pick<
  Store,
  | 'insertToken'
  | 'findToken'
  | 'listTokens'
  | 'getToken'
  | 'rotateToken'
  | 'revokeToken'
  | 'touchToken'
  | 'insertAudit'
  | 'setAuditTask'
  | 'listAudit'
>

export function accessTables(database: Database): AccessPart {
  const find = database.prepare<[string, string], TokenRow>('SELECT * FROM tokens WHERE hash = ? OR previous_hash = ?')
  const get = database.prepare<[string], TokenRow>('SELECT * FROM tokens WHERE id = ?')
  const rotate = database.prepare(
    `UPDATE tokens SET previous_hash = hash, previous_until = @previousUntil, hash = @hash, rotated_at = @at, expires_at = @expiresAt
     WHERE id = @tokenId AND revoked_at IS NULL`,
  )
  const touch = database.prepare('UPDATE tokens SET last_used_at = ? WHERE id = ?')
  const insertAudit = database.prepare(
    'INSERT INTO audit (at, user, token_id, address, action, task_id, request_id, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
  )
  return {
    insertToken: (token) =>
      void database
        .prepare(
          'INSERT INTO tokens (id, hash, name, user, role, created_at, expires_at, scope, limits) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
        )
        .run(
          token.id,
          token.hash,
          token.name,
          token.user,
          token.role,
          token.createdAt,
          token.expiresAt ?? null,
          token.scope === undefined ? null : JSON.stringify(token.scope),
          token.limits === undefined ? null : JSON.stringify(token.limits),
        ),
    findToken(hash) {
      const row = find.get(hash, hash)
      return row && toToken(row)
    },
    getToken(tokenId) {
      const row = get.get(tokenId)
      return row && toToken(row)
    },
    rotateToken(tokenId, { expiresAt = null, ...rotation }) {
      if (rotate.run({ tokenId, expiresAt, ...rotation }).changes !== 1) return undefined
      return toToken(get.get(tokenId) as TokenRow)
    },
    listTokens: () => database.prepare<[], TokenRow>('SELECT * FROM tokens ORDER BY created_at').all().map(toToken),
    revokeToken: (tokenId, at) =>
      database.prepare('UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL').run(at, tokenId)
        .changes === 1,
    touchToken: (tokenId, at) => void touch.run(at, tokenId),
    insertAudit: (row) =>
      Number(
        insertAudit.run(
          row.at,
          row.user,
          row.tokenId,
          row.address,
          row.action,
          row.taskId ?? null,
          row.requestId,
          row.detail ?? null,
        ).lastInsertRowid,
      ),
    setAuditTask: (id, taskId) => void database.prepare('UPDATE audit SET task_id = ? WHERE id = ?').run(taskId, id),
    listAudit: ({ taskId, limit, before }) =>
      database
        .prepare<[number, string | null, string | null, number], AuditRecord>(
          'SELECT * FROM audit WHERE id < ? AND (? IS NULL OR task_id = ?) ORDER BY id DESC LIMIT ?',
        )
        .all(before ?? Number.MAX_SAFE_INTEGER, taskId ?? null, taskId ?? null, limit)
        .map(toAudit),
  }
}

const toToken = (row: TokenRow): StoredToken => ({
  id: row.id,
  hash: row.hash,
  name: row.name,
  user: row.user,
  role: row.role,
  createdAt: row.created_at,
  ...(row.expires_at !== null && { expiresAt: row.expires_at }),
  ...(row.last_used_at !== null && { lastUsedAt: row.last_used_at }),
  ...(row.revoked_at !== null && { revokedAt: row.revoked_at }),
  ...(row.scope !== null && { scope: JSON.parse(row.scope) as NonNullable<StoredToken['scope']> }),
  ...(row.rotated_at !== null && { rotatedAt: row.rotated_at }),
  ...(row.previous_hash !== null && { previousHash: row.previous_hash }),
  ...(row.previous_until !== null && { previousUntil: row.previous_until }),
  ...(row.limits !== null && { limits: JSON.parse(row.limits) as TokenLimits }),
})

const toAudit = (row: AuditRecord): AuditRow => ({
  id: row.id,
  at: row.at,
  user: row.user,
  tokenId: row.token_id,
  address: row.address,
  action: row.action,
  requestId: row.request_id,
  ...(row.task_id !== null && { taskId: row.task_id }),
  ...(row.detail !== null && { detail: row.detail }),
})
