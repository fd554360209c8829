/** What the launchers run, whether a task owns it or not: an administrator's look at what is paid for. */
import { z } from 'zod'
import { Finding } from '../finding.ts'
import { defineRoute } from '../route.ts'

/** `isKnown`: a living task of this gateway owns it. What is not known is an orphan, and is stopped once the gateway may. */
export const SurveyedPlacement = z.object({
  taskId: z.string(),
  launchId: z.string(),
  launcher: z.string(),
  handle: z.string(),
  startedAt: z.string(),
  isKnown: z.boolean(),
  usdPerHour: z.number().optional(),
})
export type SurveyedPlacement = z.infer<typeof SurveyedPlacement>

export const ListedPlacement = SurveyedPlacement.extend({
  /** `stopping`: an orphan that was told to stop, and is paid for until it has. */
  status: z.enum(['pending', 'running', 'stopping', 'stopped', 'gone']),
  /** What it waits for, or why it ended. */
  detail: z.string().optional(),
  /** Since it was started, at its price; absent when it has none. An estimate: the wait for a machine may be free. */
  usd: z.number().optional(),
})
export type ListedPlacement = z.infer<typeof ListedPlacement>

/** Of another gateway, in the same place. Nobody but that gateway stops it. */
export const ForeignPlacement = z.object({
  launcher: z.string(),
  handle: z.string(),
  gatewayId: z.string(),
  startedAt: z.string(),
  usdPerHour: z.number().optional(),
})
export type ForeignPlacement = z.infer<typeof ForeignPlacement>

/** `stopping`: it was told to, and takes its time. */
export const SweptPlacement = SurveyedPlacement.extend({
  result: z.enum(['stopped', 'stopping', 'failed', 'would_stop']),
  message: z.string().optional(),
})
export type SweptPlacement = z.infer<typeof SweptPlacement>

/** Only this one is asked; otherwise all, and one that does not answer is an error. */
const OneLauncher = z.string().max(100).optional()

/** So long an answer waits for machines to be gone; their stop goes on whatever it is. */
export const MAX_STOP_WAIT_SECONDS = 20
const StopWait = z.coerce.number().int().min(0).max(MAX_STOP_WAIT_SECONDS).default(MAX_STOP_WAIT_SECONDS)

export const placementRoutes = {
  listPlacements: defineRoute({
    name: 'listPlacements',
    method: 'GET',
    path: '/v1/placements',
    access: 'admin',
    summary: 'What the launchers run for this gateway, orphans included, with age and estimated cost.',
    query: z.object({
      launcher: OneLauncher,
      /** Those of other gateways too, where a launcher can see them. */
      foreign: z.literal('1').optional(),
    }),
    response: z.object({ placements: z.array(ListedPlacement), foreign: z.array(ForeignPlacement) }),
  }),
  stopPlacement: defineRoute({
    name: 'stopPlacement',
    method: 'DELETE',
    path: '/v1/placements/:launchId',
    access: 'admin',
    audit: 'placement.stop',
    summary: 'Stop an orphan. What a living task owns is stopped with its task.',
    query: z.object({ launcher: OneLauncher, waitSeconds: StopWait }),
    response: SweptPlacement,
  }),
  sweepPlacements: defineRoute({
    name: 'sweepPlacements',
    method: 'POST',
    path: '/v1/placements/sweep',
    access: 'admin',
    audit: 'placement.sweep',
    summary: 'Stop all orphans now, instead of with the next sweep.',
    body: z.object({ launcher: OneLauncher, dryRun: z.boolean().default(false), waitSeconds: StopWait }),
    response: z.object({ swept: z.array(SweptPlacement) }),
  }),
  diagnoseLauncher: defineRoute({
    name: 'diagnoseLauncher',
    method: 'POST',
    path: '/v1/launchers/:launcher/diagnose',
    access: 'admin',
    audit: 'launcher.diagnose',
    summary: 'Can this launcher do its work? What it needs, each with what was found. It launches nothing.',
    body: z.object({}),
    response: z.object({ findings: z.array(Finding) }),
  }),
} as const
