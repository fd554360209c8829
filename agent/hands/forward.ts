/** Requests for the work's files, handed on to the second process as they are, on a stream of their own, and its answers back. */
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context } from 'hono'
import { framing, HOP_BY_HOP, keep } from '../../tunnel/forwarding.ts'
import type { AgentEnv } from '../http/send.ts'
import type { Hands } from './hands.ts'
import { responseTo } from './response.ts'

/** What is of one connection, or said anew for the other; and who asks, which is not the work's business. */
const NOT_HANDED_ON = new Set([...HOP_BY_HOP, 'content-length', 'host', 'expect', 'rclaude-user', 'rclaude-role'])

/** @throws RclaudeError `unavailable` */
export async function forwardTo(hands: Hands, c: Context<AgentEnv>): Promise<Response> {
  const incoming = c.env.incoming as IncomingMessage
  const outgoing = c.env.outgoing as ServerResponse // the agent speaks HTTP/1.1 only
  const upstream = await hands.request({
    method: incoming.method,
    path: incoming.url,
    headers: { ...handedOn(incoming.headers), ...framing(incoming) },
  })
  const answer = responseTo(upstream)
  const onGone = () => {
    if (!outgoing.writableFinished) upstream.destroy()
  }
  outgoing.once('close', onGone)
  if (outgoing.destroyed) onGone()
  // Flows while the answer is awaited, which may come before all was read. The client's connection outlives it, for that answer.
  incoming.pipe(upstream)
  const response = await answer.catch((error: unknown) => {
    throw hands.unavailable(error)
  })
  const { 'content-length': length } = response.headers
  outgoing.writeHead(response.statusCode ?? 502, {
    ...handedOn(response.headers),
    ...(length !== undefined && { 'content-length': length }),
  })
  outgoing.flushHeaders()
  await pipeline(response, outgoing).catch(() => outgoing.destroy())
  return RESPONSE_ALREADY_SENT
}

const handedOn = (headers: IncomingHttpHeaders): OutgoingHttpHeaders =>
  keep(headers, (name) => !NOT_HANDED_ON.has(name))
