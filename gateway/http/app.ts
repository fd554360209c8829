/**
 * The gateway's API. Every route of the table is mounted here with the same steps: who asks (`authorize`), is the
 * request well-formed (the route's schemas), then its handler. A route without a handler does not compile.
 */
import type { IncomingMessage } from 'node:http'
import { type Context, Hono } from 'hono'
import type { z } from 'zod'
import { invalid, RclaudeError } from '../../protocol/errors.ts'
import { newRequestId } from '../../protocol/ids.ts'
import type { AnyRoute, BodyOf, QueryOf } from '../../protocol/route.ts'
import { type Routes, routes } from '../../protocol/routes.ts'
import { formatBytes } from '../../protocol/units.ts'
import { EXPIRES_HEADER, PROTOCOL_HEADER, protocolMismatch } from '../../protocol/version.ts'
import { type Access, type AccessRequest, authorize } from '../auth/authorize.ts'
import { artifactHandlers } from './artifacts.ts'
import type { Bindings, Deps, Handler, Handlers } from './context.ts'
import { eventHandlers } from './events.ts'
import { gatewayHandlers } from './gateway.ts'
import { gitHandlers } from './git.ts'
import { healthHandlers } from './health.ts'
import { limitsHandlers } from './limits.ts'
import { modelHandlers } from './models.ts'
import { placementHandlers } from './placements.ts'
import { previewHandlers } from './previews/handlers.ts'
import { problemHeaders, toRclaudeError } from './problem.ts'
import { forward } from './proxy.ts'
import { resultHandlers } from './results.ts'
import { shareHandlers } from './shares.ts'
import { taskHandlers } from './tasks.ts'
import { tokenHandlers } from './tokens.ts'
import { workspaceHandlers } from './workspace.ts'

const handlers: Handlers = {
  ...gatewayHandlers,
  ...limitsHandlers,
  ...taskHandlers,
  ...healthHandlers,
  ...eventHandlers,
  ...resultHandlers,
  ...artifactHandlers,
  ...workspaceHandlers,
  ...gitHandlers,
  ...shareHandlers,
  ...tokenHandlers,
  ...modelHandlers,
  ...placementHandlers,
  ...previewHandlers,
}

export function createApp(deps: Deps): Hono<Bindings> {
  const app = new Hono<Bindings>()
  app.use(async (c, next) => {
    c.set('requestId', newRequestId())
    await next()
    c.header('rclaude-request-id', c.get('requestId'))
  })
  for (const [name, route] of Object.entries(routes) as Array<[keyof Routes, AnyRoute]>) {
    if (route.upgrade) continue
    const handler: Handler<AnyRoute> =
      name in handlers ? (handlers[name as keyof Handlers] as Handler<AnyRoute>) : forward
    app.on(route.method, route.path, (c) => answer(c, deps, route, handler))
  }
  app.notFound((c) =>
    problem(
      c,
      deps,
      new RclaudeError('not_found', `there is no ${c.req.method} ${c.req.path}; /openapi.json lists what there is`),
    ),
  )
  app.onError((error, c) => problem(c, deps, error))
  return app
}

async function answer(
  c: Context<Bindings>,
  deps: Deps,
  route: AnyRoute,
  handler: Handler<AnyRoute>,
): Promise<Response> {
  const requestId = c.get('requestId')
  const mismatch = protocolMismatch('the gateway', 'this client', c.req.header(PROTOCOL_HEADER))
  if (mismatch !== undefined) throw new RclaudeError('version_mismatch', mismatch)
  const { principal, task, auditId } = admit(deps, {
    route,
    authorization: c.req.header('authorization'),
    taskId: c.req.param('taskId'),
    target: `${c.req.method} ${c.req.path}`,
    address: deps.addressOf(c.env.incoming),
    requestId,
  })
  if (principal !== undefined) deps.connections.add(principal, c.env.outgoing, task?.id)
  if (principal?.expiresAtMs !== undefined)
    c.env.outgoing.setHeader(EXPIRES_HEADER, new Date(principal.expiresAtMs).toISOString())
  const query = parseQuery(route, c)
  if (expectsContinue(c)) c.env.outgoing.writeContinue()
  const body = await parseBody(route, c, deps.config.limits.requestBody)
  return handler({ c, deps, query, body, principal, task, requestId, auditId })
}

/** RFC 9110 10.1.1: the client waits with its body until it is told that it is wanted. */
const expectsContinue = (c: Context<Bindings>): boolean =>
  c.env.incoming.httpVersion === '1.1' && c.env.incoming.headers.expect?.toLowerCase() === '100-continue'

const isDeleting = ({ method, name }: AnyRoute): boolean => method === 'DELETE' || name === routes.pruneTasks.name

/** On a full disk a delete may use the space that was kept aside: its audit row comes before what it frees. */
function admit(deps: Deps, request: AccessRequest): Access {
  try {
    return authorize(deps.store, request)
  } catch (error) {
    const mayUseReserve = isDeleting(request.route) && error instanceof RclaudeError && error.code === 'disk_full'
    if (!mayUseReserve || !deps.reserve.release()) throw error
    return authorize(deps.store, request)
  }
}

function parseQuery<R extends AnyRoute>(route: R, c: Context<Bindings>): QueryOf<R> {
  if (route.query === undefined) return {} as QueryOf<R>
  return parse('the query', route.query, c.req.query()) as QueryOf<R>
}

async function parseBody<R extends AnyRoute>(route: R, c: Context<Bindings>, limit: number): Promise<BodyOf<R>> {
  if (route.body === undefined) return undefined as BodyOf<R>
  const text = await readText(c, limit)
  let value: unknown
  try {
    value = text === '' ? {} : JSON.parse(text)
  } catch (error) {
    throw new RclaudeError('invalid', `the body is not JSON: ${(error as Error).message}`)
  }
  return parse('the body', route.body, value) as BodyOf<R>
}

function parse(what: string, schema: z.ZodType, value: unknown): unknown {
  const parsed = schema.safeParse(value)
  if (!parsed.success) throw invalid(what, parsed.error)
  return parsed.data
}

async function readText(c: Context<Bindings>, limit: number): Promise<string> {
  const chunks: Buffer[] = []
  let total = 0
  for await (const chunk of c.env.incoming as AsyncIterable<Buffer>) {
    total += chunk.length
    if (total > limit)
      throw new RclaudeError('too_large', `the body is larger than ${formatBytes(limit)} (limits.requestBody)`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function problem(c: Context<Bindings>, deps: Deps, error: unknown): Response {
  const requestId = c.get('requestId')
  const known = toRclaudeError(error, deps.log, requestId, c.env.incoming as IncomingMessage)
  return c.body(JSON.stringify(known.toProblem(requestId)), known.status as 400, problemHeaders(known, requestId))
}
