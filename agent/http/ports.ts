/**
 * Ports, for clients and for the gateway's previews.
 *
 *   GET /ports                            those that listen
 *   GET /ports/3000?id=conn_...&host=     WebSocket rclaude.port.v1: connect, under an id that the client chose
 *   GET /connections/conn_...             WebSocket rclaude.port.v1: go on with one
 *   GET /ports/8080/listen                WebSocket rclaude.listen.v1: listen here, port 0 for any
 *   GET /ports/3000, Upgrade: rclaude-tcp bare bytes of a connection, for the gateway alone
 *
 * Everything that can be refused is refused before the upgrade, as HTTP.
 */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { Hono } from 'hono'
import { type WebSocket, WebSocketServer } from 'ws'
import { z } from 'zod'
import { RclaudeError } from '../../protocol/errors.ts'
import { ConnectionId } from '../../protocol/ids.ts'
import {
  ForwardHost,
  LISTEN_PROTOCOL,
  PORT_PROTOCOL,
  PORT_WINDOW_BYTES,
  PortNumber,
  TCP_UPGRADE,
} from '../../protocol/port.ts'
import type { Hands } from '../hands/hands.ts'
import { connectTo } from '../ports/connect.ts'
import type { PortConnections } from '../ports/connections.ts'
import { listenOn, serveListener } from '../ports/listener.ts'
import { listeningPorts } from '../ports/listening.ts'
import { type ProblemOptions, parse, refuseUpgrade } from './problem.ts'
import type { AgentEnv } from './send.ts'
import type { UpgradeHandler } from './upgrade.ts'

const OpenQuery = z.object({ id: ConnectionId.optional(), host: ForwardHost.optional() })
const ListenPort = z.union([z.literal('0').transform(() => 0), PortNumber])

export interface PortsOptions extends ProblemOptions {
  connections: PortConnections
  /** Hosts besides the loopback that the task allows. */
  allowedHosts(): readonly string[]
  /** Marks the processes of this task in their environment. */
  launchId: string
  /** Sees the processes of the work, where they are another user's. */
  hands?: Hands | undefined
}

export function portRoutes({ launchId, hands }: Pick<PortsOptions, 'launchId' | 'hands'>): Hono<AgentEnv> {
  const app = new Hono<AgentEnv>()
  app.get('/', async (c) => c.json({ ports: await listeningPorts(launchId, hands) }))
  return app
}

export function portUpgrade(options: PortsOptions): UpgradeHandler {
  const webSockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    clientTracking: false,
    maxPayload: PORT_WINDOW_BYTES + 1,
    handleProtocols: (offered) => [...offered][0] ?? false,
  })
  return (request, socket, head) => {
    const onEarlyError = () => socket.destroy()
    socket.on('error', onEarlyError)
    const upgrade = (handle: (webSocket: WebSocket) => void) =>
      webSockets.handleUpgrade(request, socket, head, (webSocket) => {
        socket.off('error', onEarlyError)
        handle(webSocket)
      })
    serve(options, request, socket, head, upgrade).catch((error: unknown) => refuseUpgrade(socket, error, options))
  }
}

type Upgrade = (handle: (webSocket: WebSocket) => void) => void

async function serve(
  options: PortsOptions,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  upgrade: Upgrade,
): Promise<void> {
  const { connections } = options
  const url = new URL(request.url ?? '/', 'http://agent')
  const user = String(request.headers['rclaude-user'] ?? '')
  const [, collection, name = '', action] = url.pathname.split('/')
  if (collection === 'connections') {
    const id = parse('the connection', ConnectionId, name)
    if (!connections.has(id, user)) throw new RclaudeError('gone', `the connection ${id} is over`)
    mustOffer(request, PORT_PROTOCOL)
    return upgrade((webSocket) => connections.join(id, webSocket))
  }
  if (action === 'listen') {
    mustOffer(request, LISTEN_PROTOCOL)
    const server = await listenOn(parse('the port', ListenPort, name))
    if (socket.destroyed) return void server.close()
    return upgrade((webSocket) => serveListener(server, webSocket, user, connections))
  }
  const port = parse('the port', PortNumber, name)
  if (action !== undefined) throw new RclaudeError('not_found', `there is no WebSocket at ${url.pathname}`)
  const { id, host } = parse('the query', OpenQuery, Object.fromEntries(url.searchParams))
  if (request.headers.upgrade === TCP_UPGRADE) {
    const connection = await connectUnlessGone(socket, { port, host: undefined }, [])
    return splice(socket, head, connection)
  }
  mustOffer(request, PORT_PROTOCOL)
  // A start whose answer was lost is repeated, under the same id.
  if (id !== undefined && connections.has(id, user)) return upgrade((webSocket) => connections.join(id, webSocket))
  connections.checkRoom()
  const connection = await connectUnlessGone(socket, { port, host }, options.allowedHosts())
  if (id !== undefined && connections.isTaken(id)) {
    connection.destroy() // two clients chose one id, or one did so twice at once
    throw new RclaudeError('conflict', `the connection ${id} is there already`)
  }
  const held = connections.hold(connection, user, id)
  return upgrade((webSocket) => connections.join(held, webSocket))
}

/** A client that leaves while we connect leaves no connection behind. */
async function connectUnlessGone(socket: Duplex, ...[destination, allowed]: Parameters<typeof connectTo>) {
  const gone = new AbortController()
  const onClose = () => gone.abort()
  socket.once('close', onClose)
  try {
    return await connectTo(destination, allowed, gone.signal)
  } finally {
    socket.off('close', onClose)
  }
}

function mustOffer(request: IncomingMessage, protocol: string): void {
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim())
  if (offered[0] !== protocol)
    throw new RclaudeError('invalid', `this speaks the WebSocket subprotocol ${protocol}, which was not offered`)
}

/** The gateway speaks to the port itself; each half ends by itself. */
function splice(socket: Duplex, head: Buffer, connection: Socket): void {
  const close = () => {
    socket.destroy()
    connection.destroy()
  }
  connection.setNoDelay(true)
  connection.on('error', close)
  socket.on('error', close).once('close', close)
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${TCP_UPGRADE}\r\n\r\n`)
  if (head.length > 0) connection.write(head)
  socket.pipe(connection)
  connection.pipe(socket)
}
