/** Errors as RFC 9457 problem documents, on Hono and on bare sockets. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { RclaudeError } from '../../protocol/errors.ts'
import type { Logger } from '../log.ts'

/** What is not ours becomes `internal`: its message stays in the log. */
export function toRclaudeError(
  error: unknown,
  log: Logger,
  requestId: string,
  request?: IncomingMessage,
): RclaudeError {
  if (error instanceof RclaudeError) return error
  if (request?.destroyed && !request.complete) {
    log.debug({ err: error, requestId }, 'the caller left in the middle of its request')
    return new RclaudeError('invalid', 'the request was cut short', { cause: error })
  }
  log.error({ err: error, requestId }, 'request failed')
  return new RclaudeError('internal', `the gateway failed at this request; its log has the reason under ${requestId}`, {
    cause: error,
  })
}

export function problemHeaders(error: RclaudeError, requestId: string): Record<string, string> {
  return {
    'content-type': 'application/problem+json',
    'cache-control': 'no-store',
    'rclaude-request-id': requestId,
    // Who has no token has no claim to a connection either: a body that never ends would hold it for ever.
    ...(error.status === 401 && { 'www-authenticate': 'Bearer realm="rclaude"', connection: 'close' }),
    ...(error.retryAfterSeconds !== undefined && { 'retry-after': String(error.retryAfterSeconds) }),
  }
}

/** A refused client gets this long to read the answer and close; then its socket is taken away. */
const REFUSAL_LINGER_MS = 2_000

/** Refuses what comes on a bare socket: the answer is written to it, then it is closed, whatever the client does. */
export function refuseSocket(
  socket: Duplex,
  error: RclaudeError,
  requestId: string,
  more: Record<string, string> = {},
): void {
  const body = JSON.stringify(error.toProblem(requestId))
  const headers = {
    ...problemHeaders(error, requestId),
    ...more,
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  socket.on('error', () => {})
  socket.resume() // what the client still sends is nobody's
  const timer = setTimeout(() => socket.destroy(), REFUSAL_LINGER_MS)
  socket.once('close', () => clearTimeout(timer))
  socket.end(`HTTP/1.1 ${error.status} ${error.toProblem().title}\r\n${lines.join('\r\n')}\r\n\r\n${body}`)
}
