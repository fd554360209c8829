/** SSH into a running task. The task's agent answers. */
import { defineForward } from '../route.ts'

export const sshRoutes = {
  sshUser: defineForward({
    name: 'sshUser',
    method: 'GET',
    path: '/v1/tasks/:taskId/ssh',
    access: 'member',
    summary: 'Whom SSH logs in as.',
    forward: '/ssh',
    rawResponse: ['application/json'],
  }),
  openSsh: defineForward({
    name: 'openSsh',
    method: 'POST',
    path: '/v1/tasks/:taskId/ssh',
    access: 'member',
    audit: 'ssh.open',
    summary:
      'Start an SSH server for one connection that the given public key may make; attach to its process to speak with it.',
    forward: '/ssh',
    rawBody: ['application/json'],
    rawResponse: ['application/json'],
  }),
} as const
