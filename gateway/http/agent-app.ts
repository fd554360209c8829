/**
 * What an agent may ask of the gateway, on streams that it opens: git for its own task's repository, and artifacts of its
 * own task. A closed list. Who asks is told by the tunnel that the stream belongs to, never by a header.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { RclaudeError } from '../../protocol/errors.ts'
import { newRequestId } from '../../protocol/ids.ts'
import { REFS } from '../../protocol/run.ts'
import { serveStreams, tunnelOf } from '../../tunnel/http.ts'
import type { TaskContext } from '../tasks/context.ts'
import type { AgentLink } from '../tunnels/links.ts'
import { GIT_PATHS, type GitPath, serveGit } from '../workspaces/git-http.ts'
import { problemHeaders, toRclaudeError } from './problem.ts'

const HEADER_DEADLINE_MS = 10_000

/** @returns what serves one agent's streams */
export function createAgentServer(context: TaskContext): { serve(link: AgentLink): void; close(): void } {
  const owners = new WeakMap<object, AgentLink>()
  const server = createServer(
    { headersTimeout: HEADER_DEADLINE_MS, requestTimeout: 0, connectionsCheckingInterval: 1_000, keepAlive: false },
    (request, response) => {
      const tunnel = tunnelOf(request.socket)
      const link = tunnel && owners.get(tunnel)
      if (link === undefined) return void request.socket.destroy()
      answer(context, link, request, response).catch((error: unknown) => refuse(context, request, response, error))
    },
  )
  return {
    serve(link) {
      owners.set(link.tunnel, link)
      serveStreams(link.tunnel, server)
    },
    close: () => server.closeAllConnections(),
  }
}

async function answer(
  context: TaskContext,
  link: AgentLink,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  // Compared as it came: nothing is normalised, so nothing but these exact paths can be meant.
  const [path = '', query = ''] = (request.url ?? '').split('?', 2)
  const gitPath = GIT_PATHS.find((known) => path === `/git/${known}`)
  if (gitPath !== undefined)
    return git(context, link, request, response, gitPath, new URLSearchParams(query).get('service'))
  const artifact = /^\/artifacts\/([^/]+)$/.exec(path)?.[1]
  if (artifact !== undefined && request.method === 'PUT') {
    await context.artifacts.put(link.taskId, nameOf(artifact), request)
    return void response.writeHead(204).end()
  }
  throw new RclaudeError('not_found', `an agent cannot ask for ${request.method} ${path.slice(0, 200)}`)
}

function nameOf(encoded: string): string {
  try {
    return decodeURIComponent(encoded)
  } catch (cause) {
    throw new RclaudeError('invalid', 'the name of the artifact is not percent-encoded UTF-8', { cause })
  }
}

async function git(
  context: TaskContext,
  link: AgentLink,
  request: IncomingMessage,
  response: ServerResponse,
  path: GitPath,
  service: string | null,
): Promise<void> {
  const task = context.store.getTask(link.taskId)
  if (task === undefined || !('placement' in task) || task.placement?.launchId !== link.launchId)
    throw new RclaudeError('gone', 'the task of this agent has ended')
  if (task.spec.workspace.kind === 'none') throw new RclaudeError('not_found', 'this task has no workspace')
  await serveGit({
    ...(await context.workspaces.access(task.id, 'agent')),
    request,
    response,
    path,
    service: service ?? undefined,
    deadlineSeconds: context.config.deadlines.transfer,
    onComplaint: (why) => context.log.info({ taskId: task.id, path }, why),
    async beforeEnd(updated) {
      const snapshot = updated.find(({ ref }) => ref === REFS.snapshot)
      if (snapshot)
        context.store.changeTask(task.id, (now) => ({ workspace: { ...now.workspace, snapshot: snapshot.new } }))
    },
  })
}

function refuse(context: TaskContext, request: IncomingMessage, response: ServerResponse, error: unknown): void {
  const requestId = newRequestId()
  const known = toRclaudeError(error, context.log, requestId, request)
  if (response.headersSent) return void response.destroy()
  response.writeHead(known.status, problemHeaders(known, requestId)).end(JSON.stringify(known.toProblem(requestId)))
}
