/** What a task tells while it runs, and what it leaves: all from the gateway, whether its machine is there or not. */
import { z } from 'zod'
import { defineRoute } from '../route.ts'
import { flag } from './page.ts'

export const Artifact = z.object({ name: z.string(), size: z.number().int().nonnegative() })
export type Artifact = z.infer<typeof Artifact>

export const resultRoutes = {
  events: defineRoute({
    name: 'events',
    method: 'GET',
    path: '/v1/tasks/:taskId/events',
    access: 'viewer',
    summary:
      'The event log from `since` (or Last-Event-ID), as NDJSON, or as server-sent events with Accept: text/event-stream.',
    query: z.object({
      since: z.coerce.number().int().nonnegative().default(0),
      follow: flag,
      limit: z.coerce.number().int().positive().optional(),
    }),
    rawResponse: ['application/x-ndjson', 'text/event-stream'],
  }),
  patch: defineRoute({
    name: 'patch',
    method: 'GET',
    path: '/v1/tasks/:taskId/patch',
    access: 'viewer',
    summary: 'The difference between the snapshot and the result (or, before there is one, the newest checkpoint).',
    query: z.object({
      of: z.enum(['result', 'checkpoint']).optional(),
      /** Only this submodule's, with paths as it sees them; `.` is the superproject alone. */
      submodule: z.string().min(1).max(4_096).optional(),
    }),
    rawResponse: ['text/x-diff'],
  }),
  transcript: defineRoute({
    name: 'transcript',
    method: 'GET',
    path: '/v1/tasks/:taskId/transcript',
    access: 'viewer',
    summary: 'The conversation, as Markdown for people or as one session update a line.',
    query: z.object({ format: z.enum(['markdown', 'ndjson']).default('markdown') }),
    rawResponse: ['text/markdown', 'application/x-ndjson'],
  }),
  listArtifacts: defineRoute({
    name: 'listArtifacts',
    method: 'GET',
    path: '/v1/tasks/:taskId/artifacts',
    access: 'viewer',
    summary: 'Files that the task put into $RCLAUDE_ARTIFACTS.',
    response: z.object({ artifacts: z.array(Artifact) }),
  }),
  getArtifact: defineRoute({
    name: 'getArtifact',
    method: 'GET',
    path: '/v1/tasks/:taskId/artifacts/*',
    access: 'viewer',
    summary: 'One artifact.',
    rawResponse: ['application/octet-stream'],
  }),
} as const
