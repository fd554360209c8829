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
      'A file of the workspace (Range, ETag), or a directory as JSON (`recursive=1`, `depth=N`) or `format=tar`; `stat=1`: what it is (`follow=1`: what a link leads to); `watch=1`: its changes as server-sent events (`ignore=PATTERN`, Last-Event-ID).',
    forward: '/files/*',
    rawResponse: ['application/octet-stream', 'application/json', 'application/x-tar', 'text/event-stream'],
  }),
  putFile: defineForward({
    name: 'putFile',
    method: 'PUT',
    path: '/v1/tasks/:taskId/files/*',
    access: 'member',
    audit: 'file.write',
    summary:
      'Write a file of the workspace, at once or not at all (`mode`, `mtimeMs`, If-Match). With `upload=ID` and Content-Range it may come in parts.',
    forward: '/files/*',
    rawBody: ['application/octet-stream'],
    rawResponse: ['application/json'],
  }),
  changeFile: defineForward({
    name: 'changeFile',
    method: 'POST',
    path: '/v1/tasks/:taskId/files/*',
    access: 'member',
    audit: 'file.change',
    summary: 'Move, make a directory or a symlink (JSON with `op`), or unpack a tar into a directory.',
    forward: '/files/*',
    rawBody: ['application/json', 'application/x-tar'],
    rawResponse: ['application/json'],
    status: 204,
  }),
  deleteFile: defineForward({
    name: 'deleteFile',
    method: 'DELETE',
    path: '/v1/tasks/:taskId/files/*',
    access: 'member',
    audit: 'file.delete',
    summary: 'Delete a file or an empty directory of the workspace; with `recursive=1` a full one.',
    forward: '/files/*',
    rawResponse: ['application/json'],
  }),
} as const
