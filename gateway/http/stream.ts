/** Answers that are made while they are sent. A slow reader slows the maker; a reader that left ends it. */
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context } from 'hono'
import type { Bindings } from './context.ts'

/** @param make is given a signal that is aborted when the client is gone */
export function streamText(
  c: Context<Bindings>,
  contentType: string,
  make: (signal: AbortSignal) => AsyncIterable<string>,
): Response {
  const gone = new AbortController()
  c.env.outgoing.once('close', () => gone.abort())
  return sendStream(c, Readable.from(make(gone.signal)), { 'content-type': `${contentType}; charset=utf-8` })
}

/** Sends bytes as they come, with the headers that keep a browser from making more of them than data. */
export function sendStream(c: Context<Bindings>, body: Readable, headers: Record<string, string>): Response {
  const { outgoing } = c.env
  outgoing.writeHead(200, {
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'content-security-policy': "sandbox; default-src 'none'",
    'rclaude-request-id': c.get('requestId'),
    ...headers,
  })
  outgoing.flushHeaders()
  pipeline(body, outgoing).catch(() => outgoing.destroy())
  return RESPONSE_ALREADY_SENT
}
