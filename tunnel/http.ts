// HTTP over the tunnel with Node's own client and server: each stream is one HTTP/1.1 connection.

import http from 'node:http'
import type { Duplex } from 'node:stream'
import type { TunnelStream } from './stream.ts'
import type { Tunnel } from './tunnel.ts'

/**
 * One request on a fresh stream, which is closed after the response (`Connection: close`): a stream is never reused, so
 * that no leftover of one request can become part of another's. Takes http.request's options; `agent` must stay out, with
 * it Node would ignore the stream and dial localhost:80.
 */
export function requestOver(
  stream: Duplex,
  options: Omit<http.RequestOptions, 'agent' | 'createConnection' | 'host' | 'port' | 'socketPath'>,
): http.ClientRequest {
  return http.request({ ...options, createConnection: () => stream })
}

const tunnelOfStream = new WeakMap<Duplex, Tunnel>()
const preparedServers = new WeakSet<http.Server>()

/**
 * Serves the streams that the peer opens. One server may serve many tunnels; a handler that must know whose request it
 * is asks tunnelOf(request.socket). The server need not listen anywhere.
 */
export function serveStreams(tunnel: Tunnel, server: http.Server): void {
  prepareOnce(server)
  tunnel.onStream((stream: TunnelStream) => {
    tunnelOfStream.set(stream, tunnel)
    server.emit('connection', stream)
  })
}

/** The tunnel that a request's socket belongs to. This is the peer's identity: unlike a header, it can't be forged. */
export function tunnelOf(socket: Duplex): Tunnel | undefined {
  return tunnelOfStream.get(socket)
}

function prepareOnce(server: http.Server): void {
  if (preparedServers.has(server)) return
  preparedServers.add(server)
  // Node starts the check of headersTimeout and requestTimeout on 'listening', which a server without a port never emits.
  if (!server.listening) server.emit('listening')
  if (server.listenerCount('clientError') === 0) server.on('clientError', answerBadRequest)
}

/**
 * What Node does by itself without a listener, except that the answer is ended: Node writes it and destroys the socket,
 * which on TCP still delivers the answer, while a stream that is destroyed says RST and drops what was not sent.
 */
function answerBadRequest(error: NodeJS.ErrnoException, socket: Duplex): void {
  const response = '_httpMessage' in socket ? socket._httpMessage : undefined
  const hasBegun = response instanceof http.ServerResponse && response.headersSent
  if (!socket.writable || hasBegun) {
    socket.destroy(error)
    return
  }
  const status = BAD_REQUEST_STATUS.get(error.code) ?? 400
  socket.end(`HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
  socket.once('finish', () => socket.destroy())
}

const BAD_REQUEST_STATUS = new Map<string | undefined, number>([
  ['ERR_HTTP_REQUEST_TIMEOUT', 408],
  ['HPE_CHUNK_EXTENSIONS_OVERFLOW', 413],
  ['HPE_HEADER_OVERFLOW', 431],
])
