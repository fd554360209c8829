/** Tokens, and the record of what was done with them. */
import { z } from 'zod'
import { TaskId, TokenId } from '../ids.ts'
import { TokenLimits } from '../limits.ts'
import { defineRoute, ROLES } from '../route.ts'
import { page } from './page.ts'

export const Role = z.enum(ROLES)
export const UserName = z.string().regex(/^[a-z0-9][a-z0-9._@-]{0,62}$/, 'expected lower-case letters, digits, . _ @ -')

export const Token = z.object({
  id: TokenId,
  name: z.string(),
  user: z.string(),
  role: Role,
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime().optional(),
  lastUsedAt: z.iso.datetime().optional(),
  revokedAt: z.iso.datetime().optional(),
  limits: TokenLimits.optional(),
})
export type Token = z.infer<typeof Token>

export const AuditRow = z.object({
  id: z.number().int(),
  at: z.iso.datetime(),
  user: z.string(),
  tokenId: z.string(),
  address: z.string(),
  action: z.string(),
  taskId: z.string().optional(),
  requestId: z.string(),
  detail: z.string().optional(),
})
export type AuditRow = z.infer<typeof AuditRow>

export const accessRoutes = {
  createToken: defineRoute({
    name: 'createToken',
    method: 'POST',
    path: '/v1/tokens',
    access: 'admin',
    audit: 'token.create',
    summary: 'Make a token. Its value is in this answer and nowhere else.',
    body: z.object({
      name: z.string().min(1).max(100),
      user: UserName,
      role: Role,
      expiresInSeconds: z.number().int().positive().optional(),
      limits: TokenLimits.optional(),
    }),
    response: z.object({ token: Token, secret: z.string() }),
    status: 201,
  }),
  listTokens: defineRoute({
    name: 'listTokens',
    method: 'GET',
    path: '/v1/tokens',
    access: 'admin',
    summary: 'All tokens, without their values.',
    response: z.object({ tokens: z.array(Token) }),
  }),
  revokeToken: defineRoute({
    name: 'revokeToken',
    method: 'DELETE',
    path: '/v1/tokens/:tokenId',
    access: 'admin',
    audit: 'token.revoke',
    summary: 'Revoke a token and close its connections.',
    status: 204,
  }),
  listAudit: defineRoute({
    name: 'listAudit',
    method: 'GET',
    path: '/v1/audit',
    access: 'admin',
    summary: 'Who did what, newest first.',
    query: z.object({ ...page, taskId: TaskId.optional() }),
    response: z.object({ rows: z.array(AuditRow), nextCursor: z.string().optional() }),
  }),
} as const
