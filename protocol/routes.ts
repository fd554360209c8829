/** The route table: every way into the gateway but the agents' own dial. */
import { z } from 'zod'
import { TaskEvent } from './event.ts'
import { TaskId, TokenId } from './ids.ts'
import { defineForward, defineRoute, ROLES } from './route.ts'
import { AGENTS, CreateTask, MAX_PROMPT, Secrets, STATES, Task } from './task.ts'

const flag = z
  .enum(['0', '1', 'true', 'false', ''])
  .transform((text) => text === '1' || text === 'true' || text === '')
  .default(false)

const Gateway = z.object({
  gatewayId: z.string(),
  version: z.string(),
  protocol: z.object({ oldest: z.number(), newest: z.number() }),
  capabilities: z.array(z.string()),
  launchers: z.array(z.object({ name: z.string(), isolation: z.enum(['none', 'container']) })),
  defaultLauncher: z.string(),
  /** Coding agents for which the gateway itself holds credentials: their tasks need none from the client. */
  modelCredentials: z.array(z.enum(AGENTS)),
  limits: z.record(z.string(), z.number()),
})
export type GatewayInfo = z.infer<typeof Gateway>

export const Role = z.enum(ROLES)
export const UserName = z.string().regex(/^[a-z0-9][a-z0-9._@-]{0,62}$/, 'expected lower-case letters, digits, . _ @ -')

export const Me = z.object({ user: z.string(), role: Role, tokenId: TokenId, tokenName: z.string() })
export type Me = z.infer<typeof Me>

export const Token = z.object({
  id: TokenId,
  name: z.string(),
  user: z.string(),
  role: Role,
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime().optional(),
  lastUsedAt: z.iso.datetime().optional(),
  revokedAt: z.iso.datetime().optional(),
})
export type Token = z.infer<typeof Token>

export const AuditRow = z.object({
  id: z.number().int(),
  at: z.iso.datetime(),
  user: z.string(),
  tokenId: z.string(),
  address: z.string(),
  action: z.string(),
  taskId: z.string().optional(),
  requestId: z.string(),
  detail: z.string().optional(),
})
export type AuditRow = z.infer<typeof AuditRow>

export const Artifact = z.object({ name: z.string(), size: z.number().int().nonnegative() })
export type Artifact = z.infer<typeof Artifact>

/** Most tasks, audit rows or tokens in one page. */
export const MAX_PAGE = 500
const page = { limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(50), cursor: z.string().max(200).optional() }

const GIT_TYPES = ['application/x-git-upload-pack-request', 'application/x-git-receive-pack-request'] as const

export const routes = {
  health: defineRoute({
    name: 'health',
    method: 'GET',
    path: '/healthz',
    access: 'public',
    summary: 'Answers while the gateway runs.',
    response: z.object({ status: z.literal('ok') }),
  }),
  ready: defineRoute({
    name: 'ready',
    method: 'GET',
    path: '/readyz',
    access: 'public',
    summary: 'Answers 200 when the gateway takes tasks, 503 while it starts, stops or has no disk space.',
    response: z.object({ status: z.literal('ready') }),
  }),
  openapi: defineRoute({
    name: 'openapi',
    method: 'GET',
    path: '/openapi.json',
    access: 'public',
    summary: 'This description.',
    response: z.looseObject({ openapi: z.string() }),
  }),
  info: defineRoute({
    name: 'info',
    method: 'GET',
    path: '/v1/info',
    access: 'viewer',
    summary: 'What this gateway is and can do.',
    response: Gateway,
  }),
  me: defineRoute({
    name: 'me',
    method: 'GET',
    path: '/v1/me',
    access: 'viewer',
    summary: 'Whose token this is.',
    response: Me,
  }),

  createTask: defineRoute({
    name: 'createTask',
    method: 'POST',
    path: '/v1/tasks',
    access: 'member',
    audit: 'task.create',
    summary: 'Create a task. With an Idempotency-Key header a repeated request answers with the same task.',
    body: CreateTask,
    response: Task,
    status: 201,
  }),
  listTasks: defineRoute({
    name: 'listTasks',
    method: 'GET',
    path: '/v1/tasks',
    access: 'viewer',
    summary: 'Tasks, newest first.',
    query: z.object({
      ...page,
      state: z.enum([...STATES, 'active']).optional(),
      /** `name` or `name=value`. */
      label: z.string().max(320).optional(),
      owner: UserName.optional(),
    }),
    response: z.object({ tasks: z.array(Task), nextCursor: z.string().optional() }),
  }),
  getTask: defineRoute({
    name: 'getTask',
    method: 'GET',
    path: '/v1/tasks/:taskId',
    access: 'viewer',
    summary: 'One task.',
    response: Task,
  }),
  stopTask: defineRoute({
    name: 'stopTask',
    method: 'POST',
    path: '/v1/tasks/:taskId/stop',
    access: 'member',
    audit: 'task.stop',
    summary: 'Stop a task; what it had done is saved. Stopping an ended task changes nothing.',
    body: z.object({ reason: z.string().max(500).default('stopped by the user') }),
    response: Task,
    status: 202,
  }),
  deleteTask: defineRoute({
    name: 'deleteTask',
    method: 'DELETE',
    path: '/v1/tasks/:taskId',
    access: 'member',
    audit: 'task.delete',
    summary: 'Delete an ended task with all it left: events, workspace, artifacts.',
    status: 204,
  }),
  retryTask: defineRoute({
    name: 'retryTask',
    method: 'POST',
    path: '/v1/tasks/:taskId/retry',
    access: 'member',
    audit: 'task.retry',
    summary: 'Start the same work again from the same snapshot, as a new task.',
    body: z.object({ secrets: Secrets.default({}) }),
    response: Task,
    status: 201,
  }),
  continueTask: defineRoute({
    name: 'continueTask',
    method: 'POST',
    path: '/v1/tasks/:taskId/turns',
    access: 'member',
    audit: 'task.continue',
    summary: 'Give the task another prompt; it goes on from its files and its conversation.',
    body: z.object({
      prompt: z.string().min(1).max(MAX_PROMPT),
      secrets: Secrets.default({}),
    }),
    response: Task,
    status: 202,
  }),
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
    query: z.object({ of: z.enum(['result', 'checkpoint']).optional() }),
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

  putWorkspace: defineRoute({
    name: 'putWorkspace',
    method: 'PUT',
    path: '/v1/tasks/:taskId/workspace',
    access: 'member',
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
    summary: 'git fetch.',
    rawBody: [GIT_TYPES[0]],
    rawResponse: ['application/x-git-upload-pack-result'],
  }),
  gitReceivePack: defineRoute({
    name: 'gitReceivePack',
    method: 'POST',
    path: '/v1/tasks/:taskId/git/git-receive-pack',
    access: 'member',
    audit: 'workspace.push',
    summary: 'git push of refs/heads/snapshot and refs/heads/base, until the task starts.',
    rawBody: [GIT_TYPES[1]],
    rawResponse: ['application/x-git-receive-pack-result'],
  }),

  listProcesses: defineForward({
    name: 'listProcesses',
    method: 'GET',
    path: '/v1/tasks/:taskId/processes',
    access: 'member',
    summary: 'Processes of the running task.',
    forward: '/processes',
    rawResponse: ['application/json'],
  }),
  startProcess: defineForward({
    name: 'startProcess',
    method: 'POST',
    path: '/v1/tasks/:taskId/processes',
    access: 'member',
    audit: 'process.start',
    summary: 'Start a process in the task.',
    forward: '/processes',
    rawBody: ['application/json'],
    rawResponse: ['application/json'],
  }),
  exec: defineForward({
    name: 'exec',
    method: 'POST',
    path: '/v1/tasks/:taskId/exec',
    access: 'member',
    audit: 'process.exec',
    summary: 'Run one process and stream its output: NDJSON with the exit at the end, or ?output=stdout for raw bytes.',
    forward: '/exec',
    rawBody: ['application/json'],
    rawResponse: ['application/x-ndjson', 'application/octet-stream'],
  }),
  attachNew: defineForward({
    name: 'attachNew',
    method: 'GET',
    path: '/v1/tasks/:taskId/processes/attach',
    access: 'member',
    audit: 'process.exec',
    summary: 'WebSocket rclaude.process.v1: start a process and attach to it.',
    forward: '/processes/attach',
    upgrade: true,
  }),
  attach: defineForward({
    name: 'attach',
    method: 'GET',
    path: '/v1/tasks/:taskId/processes/:processId/attach',
    access: 'member',
    audit: 'process.attach',
    summary: 'WebSocket rclaude.process.v1: attach to a process, from the offsets `stdout` and `stderr` on.',
    forward: '/processes/:processId/attach',
    upgrade: true,
  }),
  getProcess: defineForward({
    name: 'getProcess',
    method: 'GET',
    path: '/v1/tasks/:taskId/processes/*',
    access: 'member',
    summary: 'One process, or its output: /processes/P, /processes/P/output?channel=stdout&since=0&follow=1.',
    forward: '/processes/*',
    rawResponse: ['application/json', 'application/octet-stream'],
  }),
  changeProcess: defineForward({
    name: 'changeProcess',
    method: 'POST',
    path: '/v1/tasks/:taskId/processes/*',
    access: 'member',
    audit: 'process.signal',
    summary: 'Signal a process: POST /processes/P/signal.',
    forward: '/processes/*',
    rawBody: ['application/json'],
    rawResponse: ['application/json'],
  }),
  writeProcess: defineForward({
    name: 'writeProcess',
    method: 'PUT',
    path: '/v1/tasks/:taskId/processes/*',
    access: 'member',
    audit: 'process.stdin',
    summary: 'Standard input by offset: PUT /processes/P/stdin?offset=0.',
    forward: '/processes/*',
    rawBody: ['application/octet-stream'],
    rawResponse: ['application/json'],
  }),
  stopProcess: defineForward({
    name: 'stopProcess',
    method: 'DELETE',
    path: '/v1/tasks/:taskId/processes/*',
    access: 'member',
    audit: 'process.stop',
    summary: 'Stop a process.',
    forward: '/processes/*',
    rawResponse: ['application/json'],
  }),
  getFile: defineForward({
    name: 'getFile',
    method: 'GET',
    path: '/v1/tasks/:taskId/files/*',
    access: 'member',
    audit: 'file.read',
    summary: 'A file of the workspace (Range, ETag), or a directory as JSON.',
    forward: '/files/*',
    rawResponse: ['application/octet-stream', 'application/json'],
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

  createToken: defineRoute({
    name: 'createToken',
    method: 'POST',
    path: '/v1/tokens',
    access: 'admin',
    audit: 'token.create',
    summary: 'Make a token. Its value is in this answer and nowhere else.',
    body: z.object({
      name: z.string().min(1).max(100),
      user: UserName,
      role: Role,
      expiresInSeconds: z.number().int().positive().optional(),
    }),
    response: z.object({ token: Token, secret: z.string() }),
    status: 201,
  }),
  listTokens: defineRoute({
    name: 'listTokens',
    method: 'GET',
    path: '/v1/tokens',
    access: 'admin',
    summary: 'All tokens, without their values.',
    response: z.object({ tokens: z.array(Token) }),
  }),
  revokeToken: defineRoute({
    name: 'revokeToken',
    method: 'DELETE',
    path: '/v1/tokens/:tokenId',
    access: 'admin',
    audit: 'token.revoke',
    summary: 'Revoke a token and close its connections.',
    status: 204,
  }),
  listAudit: defineRoute({
    name: 'listAudit',
    method: 'GET',
    path: '/v1/audit',
    access: 'admin',
    summary: 'Who did what, newest first.',
    query: z.object({ ...page, taskId: TaskId.optional() }),
    response: z.object({ rows: z.array(AuditRow), nextCursor: z.string().optional() }),
  }),
} as const

export type Routes = typeof routes
export { TaskEvent }
