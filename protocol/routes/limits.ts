/** What users and tokens have of their limits. */
import { z } from 'zod'
import { TokenId } from '../ids.ts'
import { defineRoute } from '../route.ts'

/** `limit` is the key that sets `max`; without `max` there is no limit. */
export const Allowance = z.object({
  limit: z.string().optional(),
  used: z.number().nonnegative(),
  /** Dollars that running turns may still cost. */
  reserved: z.number().nonnegative().optional(),
  max: z.number().optional(),
})
export type Allowance = z.infer<typeof Allowance>

const account = {
  running: Allowance,
  queued: Allowance,
  /** Since midnight UTC. */
  usdToday: Allowance,
}
export const Allowances = z.object({
  /** When the dollars of the day count from zero again: midnight UTC. */
  resetsAt: z.iso.datetime(),
  /** Of all users together. */
  running: Allowance,
  users: z.array(z.object({ user: z.string(), ...account })),
  tokens: z.array(z.object({ tokenId: TokenId, name: z.string(), user: z.string(), ...account })),
})
export type Allowances = z.infer<typeof Allowances>

export const limitsRoutes = {
  limits: defineRoute({
    name: 'limits',
    method: 'GET',
    path: '/v1/limits',
    access: 'viewer',
    scope: 'any',
    summary: 'What you and your token have of your limits: tasks that run and wait, dollars of the day.',
    query: z.object({
      /** Everybody, with all their tokens: for administrators. */
      allUsers: z.literal('1').optional(),
    }),
    response: Allowances,
  }),
} as const
