/** Tokens, and the record of what was done with them. */
import { z } from 'zod'
import { TaskId, TokenId } from '../ids.ts'
import { TokenLimits } from '../limits.ts'
import { defineRoute, ROLES, SCOPES } from '../route.ts'
import { page } from './page.ts'

export const Role = z.enum(ROLES)
export const Scope = z.enum(SCOPES)
export const UserName = z.string().regex(/^[a-z0-9][a-z0-9._@-]{0,62}$/, 'expected lower-case letters, digits, . _ @ -')

/** 0 is a token that never expires, where `limits.tokenMaxLifetime` allows it. */
const Lifetime = z
  .number()
  .int()
  .nonnegative()
  .max(100 * 365 * 86_400)

export const Token = z.object({
  id: TokenId,
  name: z.string(),
  user: z.string(),
  role: Role,
  /** Absent: all that the role may do. */
  scope: z.array(Scope).optional(),
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime().optional(),
  lastUsedAt: z.iso.datetime().optional(),
  revokedAt: z.iso.datetime().optional(),
  /** When it got the value that it has now. */
  rotatedAt: z.iso.datetime().optional(),
  /** Until then the value before that one is taken as well. */
  previousUntil: z.iso.datetime().optional(),
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
      scope: z.array(Scope).min(1).optional(),
      expiresInSeconds: Lifetime.optional(),
      limits: TokenLimits.optional(),
    }),
    response: z.object({ token: Token, secret: z.string() }),
    status: 201,
  }),
  rotateToken: defineRoute({
    name: 'rotateToken',
    method: 'POST',
    path: '/v1/tokens/:tokenId/rotate',
    access: 'admin',
    audit: 'token.rotate',
    summary: 'Give a token a new value, as long-lived as the first was; the old one is taken for a grace period.',
    body: z.object({
      expiresInSeconds: Lifetime.optional(),
      graceSeconds: z
        .number()
        .int()
        .nonnegative()
        .max(30 * 86_400)
        .optional(),
    }),
    response: z.object({ token: Token, secret: z.string() }),
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
