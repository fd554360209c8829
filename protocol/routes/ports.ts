/** Ports of a running task: a connection to one, and a listener on one. */
import { defineForward } from '../route.ts'

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
} as const
