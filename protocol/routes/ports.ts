/** Ports of a running task: a connection to one, a listener on one, and a page of the browser for one (previews). */
import { z } from 'zod'
import { PortNumber } from '../port.ts'
import { defineForward, defineRoute } from '../route.ts'

/** Where a preview begins: a path of the dev server, never another host. */
const PreviewPath = z
  .string()
  .max(2_000)
  .regex(/^\/(?![/\\])[\x21-\x7e]*$/, 'expected a path such as /admin?tab=1')

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
} as const
