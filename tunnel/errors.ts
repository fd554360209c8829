// The errors of the tunnel layer, with a closed list of codes. A stream's errors arrive as its 'error' event, a
// session's end as `tunnel.closed`, and only calls that cannot work at all (`open()` on a closed tunnel) throw.

import type { IncomingHttpHeaders } from 'node:http'

export type TunnelErrorCode =
  /** The session ended; all its streams end with this code. */
  | 'TUNNEL_CLOSED'
  /** The peer broke the yamux specification; the session ends. */
  | 'TUNNEL_PROTOCOL_ERROR'
  /** The peer reset one stream. The code is the one that Node's sockets use, so that libraries know what it means. */
  | 'ECONNRESET'
  /** The peer reset a stream before it accepted it: it has too many, or it takes no new ones. */
  | 'TUNNEL_STREAM_REFUSED'
  /** The peer said nothing about a stream that we opened. */
  | 'TUNNEL_STREAM_TIMEOUT'
  /** The peer said go-away: existing streams go on, new ones need a new tunnel. */
  | 'TUNNEL_GOING_AWAY'
  | 'TUNNEL_TOO_MANY_STREAMS'
  | 'TUNNEL_STREAM_IDS_EXHAUSTED'
  | 'TUNNEL_PING_TIMEOUT'
  /** A dial that asks for a session comes after a later one. */
  | 'TUNNEL_STALE_EPOCH'
  /** The server answered the WebSocket upgrade with an HTTP status instead of 101. */
  | 'TUNNEL_UPGRADE_REFUSED'
  /** No connection came about: DNS, TCP, TLS or the handshake's deadline. */
  | 'TUNNEL_UNREACHABLE'

export class TunnelError extends Error {
  readonly code: TunnelErrorCode

  constructor(code: TunnelErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TunnelError'
    this.code = code
  }
}

/** The server's HTTP answer to an upgrade that it did not accept. */
export class UpgradeRefused extends TunnelError {
  readonly status: number
  /** What `Retry-After` asked for, in ms; undefined when the server didn't say. */
  readonly retryAfterMs: number | undefined
  /** The first 4 KiB of the answer's body. */
  readonly body: string
  readonly headers: IncomingHttpHeaders

  constructor(
    url: string,
    answer: { status: number; retryAfterMs?: number | undefined; body: string; headers?: IncomingHttpHeaders },
  ) {
    const detail = answer.body.trim()
    super('TUNNEL_UPGRADE_REFUSED', `${url} answered ${answer.status}${detail === '' ? '' : `: ${detail}`}`)
    this.name = 'UpgradeRefused'
    this.status = answer.status
    this.retryAfterMs = answer.retryAfterMs
    this.body = answer.body
    this.headers = answer.headers ?? {}
  }
}

export function protocolError(message: string): TunnelError {
  return new TunnelError('TUNNEL_PROTOCOL_ERROR', message)
}
