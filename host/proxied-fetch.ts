/**
 * `fetch` through a proxy, as far as the typed client needs it: Node 20's own takes no proxy. Each call has a connection
 * of its own, and a redirect is an error, because it would carry the token elsewhere.
 */
import { type IncomingMessage, request as plainRequest } from 'node:http'
import { request as secureRequest } from 'node:https'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ReadableStream } from 'node:stream/web'
import type { HttpProxy } from './proxy.ts'
import { ProxyAgent } from './proxy-agent.ts'

/** Without a byte for so long the connection is dead: what Node's own fetch waits. */
const SILENCE_MS = 300_000
/** Statuses that have no body by definition; `Response` takes none with them. */
const WITHOUT_BODY = new Set([101, 204, 205, 304])

export function proxiedFetch(proxy: HttpProxy, baseUrl: string): typeof fetch {
  const agent = new ProxyAgent(proxy, baseUrl)
  return (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : input)
    const { signal } = init
    return new Promise<Response>((resolve, reject) => {
      signal?.throwIfAborted()
      const request = (url.protocol === 'https:' ? secureRequest : plainRequest)(url, {
        agent,
        method: init.method ?? 'GET',
        headers: headersOf(init),
        timeout: SILENCE_MS,
        ...(signal && { signal }),
      })
      // Node tells of an abort only when there is a socket: a proxy that says nothing must not hold us.
      const leave = () => reject(signal?.reason)
      signal?.addEventListener('abort', leave)
      request.once('close', () => signal?.removeEventListener('abort', leave))
      request.once('timeout', () => request.destroy(new Error(`nothing came for ${SILENCE_MS / 1000} s`)))
      request.once('response', (response) => {
        const status = response.statusCode ?? 0
        if (status >= 300 && status < 400 && status !== 304) {
          request.destroy()
          return reject(new TypeError(`unexpected redirect (${status})`))
        }
        resolve(responseOf(status, response))
      })
      request.on('error', reject) // stays: what breaks later is the body's error
      send(request, init.body).catch((error: Error) => request.destroy(error))
    })
  }
}

function headersOf({ headers, body }: RequestInit): Record<string, string> {
  const given = Object.fromEntries(new Headers(headers))
  return typeof body === 'string' ? { ...given, 'content-length': String(Buffer.byteLength(body)) } : given
}

async function send(request: ReturnType<typeof plainRequest>, body: RequestInit['body']): Promise<void> {
  if (body === undefined || body === null || typeof body === 'string') return void request.end(body ?? undefined)
  // Whatever else a body may be, `Response` knows how to read it.
  await pipeline(Readable.fromWeb(new Response(body).body as ReadableStream), request)
}

function responseOf(status: number, response: IncomingMessage): Response {
  const headers = new Headers()
  for (const [name, values] of Object.entries(response.headersDistinct))
    for (const value of values ?? []) headers.append(name, value)
  const init = { status, statusText: response.statusMessage ?? '', headers }
  if (!WITHOUT_BODY.has(status)) return new Response(Readable.toWeb(response) as globalThis.ReadableStream, init)
  response.resume()
  return new Response(null, init)
}
