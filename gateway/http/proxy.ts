/**
 * Forwards a request to the task's agent: one fresh stream per request, rebuilt with explicit framing, so that nothing a
 * client sends can run on into another's request. Both sides' headers are filtered; who asks is told to the agent in
 * headers that only the gateway can set.
 */
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { RclaudeError } from '../../protocol/errors.ts'
import type { AnyRoute } from '../../protocol/route.ts'
import type { Task } from '../../protocol/task.ts'
import { framing, HOP_BY_HOP, hasBody, keep } from '../../tunnel/forwarding.ts'
import { requestOver } from '../../tunnel/http.ts'
import type { Principal } from '../auth/tokens.ts'
import { type Call, principalOf, taskOf } from './context.ts'
import { gatherWrites } from './gather-writes.ts'
import { receiveAnswer } from './receive-answer.ts'
import { streamTo } from './stream-to.ts'

const NOT_TO_AGENT = new Set([
  ...HOP_BY_HOP,
  'authorization',
  'cookie',
  'host',
  'expect',
  'forwarded',
  'origin',
  'referer',
  'content-length',
])
const NOT_FROM_AGENT = new Set([
  ...HOP_BY_HOP,
  'set-cookie',
  'clear-site-data',
  'service-worker-allowed',
  'alt-svc',
  'strict-transport-security',
  'content-security-policy',
  'x-content-type-options',
  'rclaude-request-id',
  'www-authenticate',
  'location',
  'refresh',
])

export async function forward(call: Call<AnyRoute>): Promise<Response> {
  const { c, deps } = call
  const { incoming, outgoing } = c.env
  const stream = await streamTo(deps, taskOf(call))
  if (outgoing.destroyed) {
    stream.destroy() // the client left while the agent's connection was awaited
    return RESPONSE_ALREADY_SENT
  }
  const upstream = requestOver(stream, {
    method: incoming.method ?? 'GET',
    path: forwardedPath(incoming, taskOf(call)),
    headers: {
      ...requestHeaders(incoming.headers, principalOf(call)),
      ...framing(incoming),
      'rclaude-request-id': call.requestId,
    },
  })
  outgoing.once('close', () => {
    if (!outgoing.writableFinished) upstream.destroy() // the client left; after an answer that is whole it ends by itself
  })
  const answer = receiveAnswer(upstream)
  // The body flows while the answer is awaited: an agent may answer before it has read all of it.
  if (hasBody(incoming)) pipeline(incoming, upstream).catch(() => upstream.destroy())
  else upstream.end()
  const response = await answer
  outgoing.writeHead(response.statusCode ?? 502, {
    ...responseHeaders(response.headers),
    'rclaude-request-id': call.requestId,
    ...(mayHaveTrailers(incoming, response) && { trailer: response.headers.trailer }),
  })
  const { socket } = outgoing
  socket?.cork() // a short answer is here whole, and goes in one write with its head
  outgoing.flushHeaders()
  response.once('end', () => outgoing.addTrailers(trailersOf(response)))
  gatherWrites(response, socket)
  pipeline(response, outgoing).catch(() => outgoing.destroy())
  setImmediate(() => socket?.uncork())
  return RESPONSE_ALREADY_SENT
}

/**
 * Exactly what `authorize()` saw, without the task's prefix.
 * @throws RclaudeError `invalid` when the prefix is percent-encoded: the router read it, but no cut of ours would fit
 */
export function forwardedPath(incoming: IncomingMessage, task: Task): string {
  const prefix = `/v1/tasks/${task.id}`
  const target = incoming.url ?? ''
  if (!target.startsWith(`${prefix}/`))
    throw new RclaudeError('invalid', `the request's path must begin with ${prefix}/, without percent-encoding`)
  return target.slice(prefix.length)
}

export function requestHeaders(headers: IncomingHttpHeaders, principal: Principal): OutgoingHttpHeaders {
  return {
    ...keep(headers, (name) => !NOT_TO_AGENT.has(name) && !/^(x-forwarded-|rclaude-|sec-)/.test(name)),
    host: 'agent',
    'rclaude-user': principal.user,
    'rclaude-role': principal.role,
  }
}

export function responseHeaders(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  return {
    ...keep(headers, (name) => !NOT_FROM_AGENT.has(name) && !name.startsWith('access-control-')),
    'x-content-type-options': 'nosniff',
    'content-security-policy': "sandbox; default-src 'none'",
  }
}

/** Trailers exist in chunked bodies only; Node throws where an agent or an HTTP/1.0 client makes that impossible. */
const mayHaveTrailers = (incoming: IncomingMessage, response: IncomingMessage): boolean =>
  response.headers.trailer !== undefined &&
  response.headers['transfer-encoding'] !== undefined &&
  incoming.httpVersion === '1.1' &&
  incoming.method !== 'HEAD'

const trailersOf = (response: IncomingMessage): Array<[string, string]> =>
  Object.entries(response.trailers).flatMap(([name, value]) =>
    value === undefined || NOT_FROM_AGENT.has(name) ? [] : [[name, value] as [string, string]],
  )
