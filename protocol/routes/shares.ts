/** Sharing a task: its owner lets another user see it, or work with it. */
import { z } from 'zod'
import { defineRoute } from '../route.ts'
import { UserName } from './access.ts'

/** `read`: what a viewer may. `write`: what a member may with a task of theirs, but delete or share it. */
export const SHARE_ACCESS = ['read', 'write'] as const
export const ShareAccess = z.enum(SHARE_ACCESS)
export type ShareAccess = z.infer<typeof ShareAccess>

export const Share = z.object({
  user: UserName,
  access: ShareAccess,
  /** Who shared it. */
  by: z.string(),
  at: z.iso.datetime(),
})
export type Share = z.infer<typeof Share>

export const shareRoutes = {
  listShares: defineRoute({
    name: 'listShares',
    method: 'GET',
    path: '/v1/tasks/:taskId/shares',
    access: 'viewer',
    summary: 'With whom the task is shared.',
    response: z.object({ shares: z.array(Share) }),
  }),
  share: defineRoute({
    name: 'share',
    method: 'PUT',
    path: '/v1/tasks/:taskId/shares/:user',
    access: 'member',
    ownerOnly: true,
    audit: 'task.share',
    summary: 'Let another user see the task, or work with it. Their own role bounds it.',
    body: z.object({ access: ShareAccess.default('read') }),
    response: Share,
  }),
  unshare: defineRoute({
    name: 'unshare',
    method: 'DELETE',
    path: '/v1/tasks/:taskId/shares/:user',
    access: 'member',
    ownerOnly: true,
    audit: 'task.unshare',
    summary: 'Take it back, and close what that user has open of the task.',
    status: 204,
  }),
} as const
