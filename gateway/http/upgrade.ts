/**
 * The one `upgrade` listener. An agent's dial goes to the tunnel; a client's WebSocket goes through the same steps as any
 * request and is then spliced to the task's agent: after a valid 101 the gateway moves bytes and parses nothing.
 */
import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { RclaudeError } from '../../protocol/errors.ts'
import { newRequestId } from '../../protocol/ids.ts'
import type { AnyRoute } from '../../protocol/route.ts'
import { portRoutes } from '../../protocol/routes/ports.ts'
import { routes } from '../../protocol/routes.ts'
import { GATEWAY_HEADER, PROTOCOL_HEADER, protocolMismatch } from '../../protocol/version.ts'
import { authorize } from '../auth/authorize.ts'
import type { Deps } from './context.ts'
import { acceptTunnel, TUNNEL_PATH } from './dial.ts'
import { type GuardOptions, guard } from './guard.ts'
import { acceptOf, shakeHands } from './handshake.ts'
import { join } from './join.ts'
import { upgradePreview } from './previews/upgrade.ts'
import { refuseSocket, toRclaudeError } from './problem.ts'
import { forwardedPath, requestHeaders } from './proxy.ts'
import { headerOf } from './request.ts'
import { streamTo } from './stream-to.ts'

export const onUpgrade =
  (deps: Deps, guardOptions: GuardOptions) =>
  (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const requestId = newRequestId()
    const refuse = (error: unknown) =>
      refuseSocket(socket, toRclaudeError(error, deps.log, requestId), requestId, {
        [GATEWAY_HEADER]: deps.store.gatewayId,
      })
    socket.on('error', () => socket.destroy())
    try {
      const preview = deps.previews.match(request.headers.host)
      if (preview !== undefined) return void upgradePreview(deps, preview, request, socket, head).catch(refuse)
      guard(request, guardOptions)
      if (request.headers.upgrade?.toLowerCase() !== 'websocket')
        throw new RclaudeError('unsupported', 'the only upgrade here is to websocket')
      const path = (request.url ?? '').split('?', 1)[0] ?? ''
      const going =
        path === TUNNEL_PATH ? dial(deps, request, socket, head) : splice(deps, request, socket, head, path, requestId)
      going.catch(refuse)
    } catch (error) {
      refuse(error)
    }
  }

async function dial(deps: Deps, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
  try {
    await acceptTunnel(deps, request, socket, head)
  } catch (error) {
    deps.metrics.dialRefused(error instanceof RclaudeError ? error.code : 'internal')
    throw error
  }
}

async function splice(
  deps: Deps,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  path: string,
  requestId: string,
): Promise<void> {
  const found = matchUpgrade(path)
  if (request.method !== 'GET' || found === undefined)
    throw new RclaudeError('not_found', `there is no WebSocket at ${path}; /openapi.json lists what there is`)
  const mismatch = protocolMismatch('the gateway', 'this client', headerOf(request, PROTOCOL_HEADER))
  if (mismatch !== undefined) throw new RclaudeError('version_mismatch', mismatch)
  const { principal, task } = authorize(deps.store, {
    route: found.route,
    authorization: request.headers.authorization,
    taskId: found.taskId,
    target: `GET ${path}`,
    address: deps.addressOf(request),
    requestId,
  })
  if (principal === undefined || task === undefined) throw new RclaudeError('not_found', 'no such WebSocket')
  const key = headerOf(request, 'sec-websocket-key')
  if (key === undefined || headerOf(request, 'sec-websocket-version') !== '13')
    throw new RclaudeError('invalid', 'the WebSocket handshake is not version 13 with a key')
  if (OF_PORTS.has(found.route)) deps.portCount.enter(task.id, socket)
  deps.connections.add(principal, socket, task.id)
  const protocol = headerOf(request, 'sec-websocket-protocol')
  const target = forwardedPath(request, task)
  const stream = await streamTo(deps, task)
  socket.once('close', () => stream.destroy()) // the client left, or its token was revoked meanwhile
  if (socket.destroyed) stream.destroy()
  const ownKey = randomBytes(16).toString('base64')
  const headers = {
    ...requestHeaders(request.headers, principal),
    ...(protocol !== undefined && { 'sec-websocket-protocol': protocol }),
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': ownKey,
  }
  const agent = await shakeHands(stream, target, headers, (said) => said['sec-websocket-accept'] === acceptOf(ownKey))
  const chosen = agent.headers['sec-websocket-protocol']
  if (socket.destroyed) return void agent.stream.destroy()
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptOf(key)}\r\n` +
      `${chosen === undefined ? '' : `Sec-WebSocket-Protocol: ${chosen}\r\n`}rclaude-request-id: ${requestId}\r\n\r\n`,
  )
  if (agent.head.length > 0) socket.write(agent.head)
  if (head.length > 0) agent.stream.write(head)
  join(agent.stream, socket)
}

const OF_PORTS: ReadonlySet<AnyRoute> = new Set(Object.values(portRoutes))

const UPGRADES = (Object.values(routes) as AnyRoute[])
  .filter((route) => route.upgrade)
  .map((route) => ({ route, pattern: new RegExp(`^${route.path.replace(/:(\w+)/g, '(?<$1>[^/]+)')}$`) }))

function matchUpgrade(path: string): { route: AnyRoute; taskId: string | undefined } | undefined {
  for (const { route, pattern } of UPGRADES) {
    const match = pattern.exec(path)
    if (match !== null) return { route, taskId: match.groups?.taskId }
  }
  return undefined
}
