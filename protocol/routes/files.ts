/** Files of a running task's workspace. The task's agent answers. */
import { defineForward } from '../route.ts'

export const fileRoutes = {
  getFile: defineForward({
    name: 'getFile',
    method: 'GET',
    path: '/v1/tasks/:taskId/files/*',
    access: 'member',
    audit: 'file.read',
    summary:
      'A file of the workspace (Range, ETag), or a directory as JSON. `?watch=1`: its changes as server-sent events; `ignore=PATTERN`, Last-Event-ID.',
    forward: '/files/*',
    rawResponse: ['application/octet-stream', 'application/json', 'text/event-stream'],
  }),
  putFile: defineForward({
    name: 'putFile',
    method: 'PUT',
    path: '/v1/tasks/:taskId/files/*',
    access: 'member',
    audit: 'file.write',
    summary: 'Write a file of the workspace, at once or not at all.',
    forward: '/files/*',
    rawBody: ['application/octet-stream'],
    rawResponse: ['application/json'],
  }),
  deleteFile: defineForward({
    name: 'deleteFile',
    method: 'DELETE',
    path: '/v1/tasks/:taskId/files/*',
    access: 'member',
    audit: 'file.delete',
    summary: 'Delete a file of the workspace.',
    forward: '/files/*',
    rawResponse: ['application/json'],
  }),
} as const
