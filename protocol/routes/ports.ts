/** Ports of a running task: a connection to one, a listener on one, and a page of the browser for one (previews). */
import { z } from 'zod'
import { PreviewId } from '../ids.ts'
import { PortNumber } from '../port.ts'
import { defineForward, defineRoute } from '../route.ts'

/** Where a preview begins: a path of the dev server, never another host. */
const PreviewPath = z
  .string()
  .max(2_000)
  .regex(/^\/(?![/\\])[\x21-\x7e]*$/, 'expected a path such as /admin?tab=1')

/** A browser that was let in to a preview. */
export const PreviewSession = z.object({
  id: PreviewId,
  port: PortNumber,
  /** Whose token asked for the link. */
  user: z.string(),
  /** Of the browser, when it was let in. */
  address: z.string(),
  enteredAt: z.iso.datetime(),
  expiresAt: z.iso.datetime(),
})
export type PreviewSession = z.infer<typeof PreviewSession>

export const portRoutes = {
  listPorts: defineForward({
    name: 'listPorts',
    method: 'GET',
    path: '/v1/tasks/:taskId/ports',
    access: 'member',
    summary: 'Ports that listen in the running task.',
    forward: '/ports',
    rawResponse: ['application/json'],
  }),
  connectPort: defineForward({
    name: 'connectPort',
    method: 'GET',
    path: '/v1/tasks/:taskId/ports/:port',
    access: 'member',
    audit: 'port.open',
    summary:
      "WebSocket rclaude.port.v1: connect to a port of the task's loopback, or of a ?host= that the task allows.",
    forward: '/ports/:port',
    upgrade: true,
  }),
  listenPort: defineForward({
    name: 'listenPort',
    method: 'GET',
    path: '/v1/tasks/:taskId/ports/:port/listen',
    access: 'member',
    audit: 'port.listen',
    summary: "WebSocket rclaude.listen.v1: listen on a port of the task's loopback and be told of each connection.",
    forward: '/ports/:port/listen',
    upgrade: true,
  }),
  takeUpConnection: defineForward({
    name: 'takeUpConnection',
    method: 'GET',
    path: '/v1/tasks/:taskId/connections/:connectionId',
    access: 'member',
    audit: 'port.resume',
    summary: 'WebSocket rclaude.port.v1: go on with a connection that lost its WebSocket, or that a listener accepted.',
    forward: '/connections/:connectionId',
    upgrade: true,
  }),
  openPreview: defineRoute({
    name: 'openPreview',
    method: 'POST',
    path: '/v1/tasks/:taskId/ports/:port/preview',
    access: 'member',
    scope: 'access',
    audit: 'preview.open',
    summary: 'A URL that lets a browser in to the port, once.',
    body: z.object({ path: PreviewPath.default('/') }),
    response: z.object({
      /** Good for one visit. */
      url: z.string(),
      /** Without the ticket: where the preview is for who was let in. */
      origin: z.string(),
      port: PortNumber,
      ticketExpiresAt: z.iso.datetime(),
      sessionExpiresAt: z.iso.datetime(),
    }),
  }),
  listPreviews: defineRoute({
    name: 'listPreviews',
    method: 'GET',
    path: '/v1/tasks/:taskId/previews',
    access: 'member',
    scope: 'access',
    summary: 'The browsers that were let in to previews of the task, and still are.',
    response: z.object({ previews: z.array(PreviewSession) }),
  }),
  endPreviews: defineRoute({
    name: 'endPreviews',
    method: 'DELETE',
    path: '/v1/tasks/:taskId/previews',
    access: 'member',
    scope: 'access',
    audit: 'preview.end',
    summary: 'End previews at once: one, those of a port with its unused links, or without a query all of the task.',
    query: z.object({ id: PreviewId.optional(), port: PortNumber.optional() }),
    response: z.object({ ended: z.array(PreviewSession) }),
  }),
} as const
