/** Keeping a folder of a running task's workspace and one elsewhere the same. The task's agent answers. */
import { defineForward } from '../route.ts'

export const syncRoutes = {
  syncManifest: defineForward({
    name: 'syncManifest',
    method: 'POST',
    path: '/v1/tasks/:taskId/sync/manifest',
    access: 'member',
    audit: 'file.read',
    summary: 'What a folder of the workspace holds, by SHA-256; a short answer when that is known.',
    forward: '/sync/manifest',
    rawBody: ['application/json'],
    rawResponse: ['application/x-ndjson'],
  }),
  syncApply: defineForward({
    name: 'syncApply',
    method: 'POST',
    path: '/v1/tasks/:taskId/sync/apply',
    access: 'member',
    audit: 'file.write',
    summary: 'Write and delete many files of the workspace, each only in place of what is expected to be there.',
    forward: '/sync/apply',
    rawBody: ['application/octet-stream'],
    rawResponse: ['application/x-ndjson'],
  }),
  syncFetch: defineForward({
    name: 'syncFetch',
    method: 'POST',
    path: '/v1/tasks/:taskId/sync/fetch',
    access: 'member',
    audit: 'file.read',
    summary: 'Many files of the workspace in one answer.',
    forward: '/sync/fetch',
    rawBody: ['application/json'],
    rawResponse: ['application/octet-stream'],
  }),
} as const
