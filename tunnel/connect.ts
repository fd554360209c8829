// Dials a WebSocket and returns it as a transport or a carrier, or says why not: an HTTP answer instead of the upgrade is an
// UpgradeRefused with its status, so that dial.ts can tell a final refusal from a bad moment.

import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import WebSocket, { type ClientOptions } from 'ws'
import { TunnelError, UpgradeRefused } from './errors.ts'
import type { Transport } from './transport.ts'
import { plainTransport, WEBSOCKET_LIMITS, type WebSocketCarrier, webSocketCarrier } from './websocket.ts'

const HANDSHAKE_TIMEOUT_MS = 10_000
const MAX_REFUSAL_BODY_BYTES = 4 * 1024

export interface ConnectOptions {
  readonly signal: AbortSignal
  readonly headers?: OutgoingHttpHeaders
  readonly protocols?: string[]
  /** Deadline for DNS, TCP, TLS and the upgrade together. Default 10 s. */
  readonly handshakeTimeoutMs?: number
  /** The address is this machine's: nothing is on the way there. */
  readonly isLoopback?: boolean
  /** Further options of `ws`: `ca`, `agent` for a proxy, ... */
  readonly websocket?: ClientOptions
}

export interface Connected {
  /** The WebSocket as a tunnel of its own; or */
  readonly transport: Transport
  /** as one of several that carry a tunnel. */
  readonly carrier: WebSocketCarrier
  readonly headers: IncomingHttpHeaders
}

/** Dials. Rejects with UpgradeRefused for an HTTP answer, TUNNEL_UNREACHABLE otherwise, the signal's reason if aborted. */
export function connectWebSocket(url: string, options: ConnectOptions): Promise<Connected> {
  const { signal, handshakeTimeoutMs = HANDSHAKE_TIMEOUT_MS } = options
  return new Promise((resolve, reject) => {
    signal.throwIfAborted()
    let headers: IncomingHttpHeaders = {}
    const ws = new WebSocket(url, options.protocols ?? [], {
      ...WEBSOCKET_LIMITS,
      ...maskingFor(url, options.isLoopback === true),
      ...options.websocket,
      headers: { ...options.websocket?.headers, ...flatten(options.headers) },
    })
    const timer = setTimeout(() => {
      fail(new TunnelError('TUNNEL_UNREACHABLE', `${url} did not answer within ${handshakeTimeoutMs} ms`))
    }, handshakeTimeoutMs)
    const onAbort = () => fail(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })

    ws.on('upgrade', (response) => {
      headers = response.headers
    })
    ws.on('unexpected-response', (_request, response) => {
      void readRefusal(url, response).then(fail)
    })
    ws.on('error', (error) => {
      fail(new TunnelError('TUNNEL_UNREACHABLE', `cannot connect to ${url}: ${error.message}`, { cause: error }))
    })
    ws.on('open', () => {
      settle()
      const carrier = webSocketCarrier(ws)
      resolve({ transport: plainTransport(carrier), carrier, headers })
    })

    function settle(): void {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    }
    function fail(error: unknown): void {
      settle()
      if (ws.readyState === WebSocket.CONNECTING) ws.terminate()
      reject(error)
    }
  })
}

/**
 * RFC 6455 wants a client's frames masked so that they can't look like HTTP to an old proxy on the way. Inside TLS no proxy
 * sees them, on loopback there is no way, and a zero key lets `ws` skip the work and the copy.
 */
function maskingFor(url: string, isLoopback: boolean): ClientOptions {
  return new URL(url).protocol === 'wss:' || isLoopback ? { generateMask: (mask) => void mask.fill(0) } : {}
}

async function readRefusal(url: string, response: IncomingMessage): Promise<UpgradeRefused> {
  let body = ''
  try {
    response.setEncoding('utf8')
    for await (const text of response) {
      body += text
      if (body.length >= MAX_REFUSAL_BODY_BYTES) break
    }
  } catch {
    // What came of the body is enough; the status says what to do.
  }
  const retryAfterMs = parseRetryAfter(response.headers['retry-after'], Date.now())
  return new UpgradeRefused(url, {
    status: response.statusCode ?? 0,
    retryAfterMs,
    body: body.slice(0, MAX_REFUSAL_BODY_BYTES),
    headers: response.headers,
  })
}

/** `Retry-After` is a number of seconds or an HTTP date (RFC 9110, 10.2.3); ms from `now`, undefined when it is neither. */
export function parseRetryAfter(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined
  const text = value.trim()
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000
  const date = Date.parse(text)
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}

function flatten(headers: OutgoingHttpHeaders = {}): Record<string, string> {
  const pairs = Object.entries(headers).filter(([, value]) => value !== undefined)
  return Object.fromEntries(pairs.map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : `${value}`]))
}
