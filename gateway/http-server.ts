/** The server that clients and agents reach: what it bounds and refuses before a request is anybody's. */
import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import type { Socket } from 'node:net'
import type { SecureContextOptions } from 'node:tls'
import { getRequestListener } from '@hono/node-server'
import { isLoopback } from '../host/loopback.ts'
import type { GatewayConfig } from '../protocol/config.ts'
import { RclaudeError } from '../protocol/errors.ts'
import { newRequestId } from '../protocol/ids.ts'
import { createApp } from './http/app.ts'
import type { Deps } from './http/context.ts'
import { type GuardOptions, guard } from './http/guard.ts'
import { servePreview } from './http/previews/serve.ts'
import { problemHeaders, refuseSocket, toRclaudeError } from './http/problem.ts'
import { onUpgrade } from './http/upgrade.ts'

/** Of each direction of a client's connection: one message of a tunnel, where Node 20's 16 KiB would cut it in four writes. */
const SOCKET_BUFFER_BYTES = 64 * 1024

/** What speaks HTTP/1.1, over TLS or not. */
export type GatewayServer = Server | TlsServer

/** @param tls undefined: plain HTTP */
export function createHttpServer(deps: Deps, tls: SecureContextOptions | undefined): GatewayServer {
  const { limits } = deps.config
  const guarded = guardOptions(deps.config)
  const app = createApp(deps)
  const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false })
  const options: ServerOptions = {
    headersTimeout: limits.handshakeTimeout * 1000,
    requestTimeout: 0, // uploads take their time; the header has its own deadline
    maxHeaderSize: limits.headersBytes,
    connectionsCheckingInterval: 1_000,
    highWaterMark: SOCKET_BUFFER_BYTES,
  }
  const server =
    tls === undefined
      ? createServer(options)
      : createTlsServer({ ...options, ...tls, handshakeTimeout: limits.handshakeTimeout * 1000 })
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const preview = deps.previews.match(request.headers.host)
    if (preview !== undefined) return void servePreview(deps, preview, request, response)
    try {
      guard(request, guarded)
    } catch (refused) {
      const requestId = newRequestId()
      const error = toRclaudeError(refused, deps.log, requestId)
      response.writeHead(error.status, { ...problemHeaders(error, requestId), connection: 'close' })
      response.end(JSON.stringify(error.toProblem(requestId)))
      return
    }
    void listener(request, response)
  }
  server.on('request', answer)
  // Without a listener Node says 100 by itself, before anybody has looked at the token. `app.ts` says it after that.
  server.on('checkContinue', answer)
  server.on('upgrade', onUpgrade(deps, guarded))
  const waiting = limitHandshakes(server, limits.handshakes)
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    const connection = waiting.get(originOf(socket))
    if (error.code === 'ERR_SSL_HTTP_REQUEST' && connection !== undefined) sayHttps(connection)
  })
  return server
}

/**
 * Connections that have not sent a whole request header yet. When there is one too many, the one that has waited longest
 * goes: whoever knows what to ask gets in, however many only hold the door. They are known by where they come from, since a
 * request over TLS has another socket than the connection that it came by.
 */
function limitHandshakes(server: GatewayServer, limit: number): ReadonlyMap<string, Socket> {
  const waiting = new Map<string, Socket>()
  server.on('connection', (socket: Socket) => {
    const origin = originOf(socket)
    waiting.set(origin, socket)
    socket.once('close', () => {
      if (waiting.get(origin) === socket) waiting.delete(origin)
    })
    const [oldest] = waiting.values()
    if (waiting.size > limit) oldest?.destroy()
  })
  for (const event of ['request', 'checkContinue', 'upgrade'] as const)
    server.prependListener(event, (request: IncomingMessage) => waiting.delete(originOf(request.socket)))
  return waiting
}

/** Otherwise whoever has http:// in a URL would only see a connection that closes. */
function sayHttps(connection: Socket): void {
  const error = new RclaudeError('invalid', 'this gateway speaks TLS: its URL begins with https://')
  refuseSocket(connection, error, newRequestId())
}

/** Of one listener, no two open connections have the same. */
const originOf = ({ remoteAddress, remotePort, localAddress }: Socket): string =>
  `${remoteAddress} ${remotePort} ${localAddress}`

function guardOptions(config: GatewayConfig): GuardOptions {
  const urls = [config.publicUrl, config.agentUrl].flatMap((url) => (url === undefined ? [] : [new URL(url).hostname]))
  const own = isLoopback(config.listen.host) ? ['localhost', '127.0.0.1', '[::1]'] : []
  const hosts = [config.listen.host, ...own, ...urls, ...config.listen.hosts]
  return {
    hosts: new Set(hosts.map((host) => host.toLowerCase())),
    origins: new Set(config.listen.origins.map((origin) => origin.toLowerCase())),
  }
}
