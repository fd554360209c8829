/** The workspace: the snapshot on its way in, and the task as a git remote. */
import { z } from 'zod'
import { defineRoute } from '../route.ts'

export const workspaceRoutes = {
  putWorkspace: defineRoute({
    name: 'putWorkspace',
    method: 'PUT',
    path: '/v1/tasks/:taskId/workspace',
    access: 'member',
    ownerOnly: true,
    audit: 'workspace.upload',
    summary: 'Deliver the snapshot as a tar (optionally gzipped) or as a git bundle; the task then starts.',
    rawBody: ['application/x-tar', 'application/gzip', 'application/x-git-bundle'],
    response: z.object({ snapshot: z.string() }),
    status: 201,
  }),
  gitRefs: defineRoute({
    name: 'gitRefs',
    method: 'GET',
    path: '/v1/tasks/:taskId/git/info/refs',
    access: 'viewer',
    summary: 'The task as a git remote (smart HTTP): fetch results, push the snapshot.',
    query: z.object({ service: z.enum(['git-upload-pack', 'git-receive-pack']) }),
    rawResponse: ['application/x-git-upload-pack-advertisement', 'application/x-git-receive-pack-advertisement'],
  }),
  gitUploadPack: defineRoute({
    name: 'gitUploadPack',
    method: 'POST',
    path: '/v1/tasks/:taskId/git/git-upload-pack',
    access: 'viewer',
    scope: 'tasks:read',
    summary: 'git fetch.',
    rawBody: ['application/x-git-upload-pack-request'],
    rawResponse: ['application/x-git-upload-pack-result'],
  }),
  gitReceivePack: defineRoute({
    name: 'gitReceivePack',
    method: 'POST',
    path: '/v1/tasks/:taskId/git/git-receive-pack',
    access: 'member',
    ownerOnly: true,
    audit: 'workspace.push',
    summary: 'git push of refs/heads/snapshot, base and parts, until the task starts.',
    rawBody: ['application/x-git-receive-pack-request'],
    rawResponse: ['application/x-git-receive-pack-result'],
  }),
} as const
