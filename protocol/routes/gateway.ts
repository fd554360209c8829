/** What the gateway is, and who asks. */
import { z } from 'zod'
import { TokenId } from '../ids.ts'
import { Offers } from '../machine.ts'
import { defineRoute } from '../route.ts'
import { AGENTS } from '../task.ts'
import { Role, Scope } from './access.ts'
import { SurveyedPlacement } from './placements.ts'

/** Why a gateway holds still until an administrator confirms that it is the one to command its machines. */
export const HoldReason = z.object({ kind: z.string(), message: z.string() })
export type HoldReason = z.infer<typeof HoldReason>

const Gateway = z.object({
  gatewayId: z.string(),
  /** How often its data were restored or moved, and confirmed; 1 before that. */
  generation: z.number().int().optional(),
  /** Set while it launches and stops nothing, after a restore or a copy of its data. */
  held: HoldReason.optional(),
  version: z.string(),
  protocol: z.object({ oldest: z.number(), newest: z.number() }),
  capabilities: z.array(z.string()),
  launchers: z.array(
    z.object({
      name: z.string(),
      isolation: z.enum(['none', 'container']),
      /** What a task may ask of its machine; a gateway that is older says nothing. */
      offers: Offers.optional(),
    }),
  ),
  defaultLauncher: z.string(),
  /** Coding agents for which the gateway has credentials, its own or the caller's: their tasks need none with them. */
  modelCredentials: z.array(z.enum(AGENTS)),
  limits: z.record(z.string(), z.number()),
})
export type GatewayInfo = z.infer<typeof Gateway>

export const Me = z.object({
  user: z.string(),
  role: Role,
  tokenId: TokenId,
  tokenName: z.string(),
  /** Absent for a token that may do all that its role may. */
  scope: z.array(Scope).optional(),
  expiresAt: z.iso.datetime().optional(),
})
export type Me = z.infer<typeof Me>

export const gatewayRoutes = {
  health: defineRoute({
    name: 'health',
    method: 'GET',
    path: '/healthz',
    access: 'public',
    summary: 'Answers while the gateway runs.',
    response: z.object({ status: z.literal('ok') }),
  }),
  ready: defineRoute({
    name: 'ready',
    method: 'GET',
    path: '/readyz',
    access: 'public',
    summary: 'Answers 200 when the gateway takes tasks, 503 while it starts, stops or has no disk space.',
    response: z.object({ status: z.literal('ready') }),
  }),
  openapi: defineRoute({
    name: 'openapi',
    method: 'GET',
    path: '/openapi.json',
    access: 'public',
    summary: 'This description.',
    response: z.looseObject({ openapi: z.string() }),
  }),
  metrics: defineRoute({
    name: 'metrics',
    method: 'GET',
    path: '/metrics',
    access: 'admin',
    summary: 'Tasks, tunnels and the process itself in the text format of Prometheus.',
    rawResponse: ['text/plain'],
  }),
  info: defineRoute({
    name: 'info',
    method: 'GET',
    path: '/v1/info',
    access: 'viewer',
    scope: 'any',
    summary: 'What this gateway is and can do.',
    response: Gateway,
  }),
  hold: defineRoute({
    name: 'hold',
    method: 'GET',
    path: '/v1/gateway/hold',
    access: 'admin',
    summary: 'Why a restored gateway holds still, and which placements there are that it would take over or stop.',
    response: z.object({ held: HoldReason.optional(), placements: z.array(SurveyedPlacement) }),
  }),
  confirmRestore: defineRoute({
    name: 'confirmRestore',
    method: 'POST',
    path: '/v1/gateway/confirm-restore',
    access: 'admin',
    audit: 'gateway.confirm_restore',
    summary:
      'This gateway commands its machines from now on: no other copy of it lives. Unknown placements are stopped.',
    body: z.object({}),
    response: z.object({ generation: z.number().int() }),
  }),
  me: defineRoute({
    name: 'me',
    method: 'GET',
    path: '/v1/me',
    access: 'viewer',
    scope: 'any',
    summary: 'Whose token this is.',
    response: Me,
  }),
} as const
