/**
 * The one `upgrade` listener. An agent's dial goes to the tunnel; a client's WebSocket goes through the same steps as any
 * request and is then spliced to the task's agent: after a valid 101 the gateway moves bytes and parses nothing.
 */
import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import type { Duplex } from 'node:stream'
import { ERROR_CODES, type ErrorCode, RclaudeError } from '../../protocol/errors.ts'
import { newRequestId } from '../../protocol/ids.ts'
import type { AnyRoute } from '../../protocol/route.ts'
import { portRoutes } from '../../protocol/routes/ports.ts'
import { routes } from '../../protocol/routes.ts'
import { GATEWAY_HEADER, PROTOCOL_HEADER, protocolMismatch } from '../../protocol/version.ts'
import { requestOver } from '../../tunnel/http.ts'
import { authorize } from '../auth/authorize.ts'
import type { Deps } from './context.ts'
import { acceptTunnel, TUNNEL_PATH } from './dial.ts'
import { gatherWrites } from './gather-writes.ts'
import { type GuardOptions, guard } from './guard.ts'
import { refuseUpgrade, toRclaudeError } from './problem.ts'
import { forwardedPath, requestHeaders } from './proxy.ts'
import { headerOf } from './request.ts'
import { streamTo } from './stream-to.ts'

/** Until the agent has answered the handshake. */
const HANDSHAKE_TIMEOUT_MS = 10_000
/** RFC 6455 1.3 */
const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

export const onUpgrade =
  (deps: Deps, guardOptions: GuardOptions) =>
  (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const requestId = newRequestId()
    const refuse = (error: unknown) =>
      refuseUpgrade(socket, toRclaudeError(error, deps.log, requestId), requestId, {
        [GATEWAY_HEADER]: deps.store.gatewayId,
      })
    socket.on('error', () => socket.destroy())
    try {
      guard(request, guardOptions)
      if (request.headers.upgrade?.toLowerCase() !== 'websocket')
        throw new RclaudeError('unsupported', 'the only upgrade here is to websocket')
      const path = (request.url ?? '').split('?', 1)[0] ?? ''
      if (path === TUNNEL_PATH) dial(deps, request, socket, head)
      else splice(deps, request, socket, head, path, requestId).catch(refuse)
    } catch (error) {
      refuse(error)
    }
  }

function dial(deps: Deps, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  try {
    acceptTunnel(deps, request, socket, head)
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
  const agent = await shakeHands(stream, target, {
    ...requestHeaders(request.headers, principal),
    ...(protocol !== undefined && { 'sec-websocket-protocol': protocol }),
  })
  if (socket.destroyed) return void agent.stream.destroy()
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptOf(key)}\r\n` +
      `${agent.protocol === undefined ? '' : `Sec-WebSocket-Protocol: ${agent.protocol}\r\n`}rclaude-request-id: ${requestId}\r\n\r\n`,
  )
  if (agent.head.length > 0) socket.write(agent.head)
  if (head.length > 0) agent.stream.write(head)
  join(agent.stream, socket)
}

interface AgentSide {
  stream: Duplex
  head: Buffer
  protocol: string | undefined
}

/** Our own handshake with the agent, with a key of our own: only a valid 101 opens the splice. */
function shakeHands(stream: Duplex, path: string, headers: OutgoingHttpHeaders): Promise<AgentSide> {
  const key = randomBytes(16).toString('base64')
  const upstream = requestOver(stream, {
    method: 'GET',
    path,
    headers: {
      ...headers,
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': key,
    },
  })
  return new Promise((resolve, reject) => {
    const fail = (error: RclaudeError) => {
      clearTimeout(timer)
      upstream.destroy()
      reject(error)
    }
    const timer = setTimeout(
      () => fail(new RclaudeError('agent_timeout', `the agent did not answer within ${HANDSHAKE_TIMEOUT_MS / 1000} s`)),
      HANDSHAKE_TIMEOUT_MS,
    )
    upstream.once('upgrade', (response, agentSocket, agentHead) => {
      if (response.headers['sec-websocket-accept'] !== acceptOf(key))
        return fail(new RclaudeError('agent_failed', "the agent's WebSocket handshake is not valid"))
      clearTimeout(timer)
      resolve({ stream: agentSocket, head: agentHead, protocol: response.headers['sec-websocket-protocol'] })
    })
    upstream.once('response', (response) => {
      refusalOf(response).then(fail, (cause: Error) =>
        fail(new RclaudeError('agent_failed', `the agent refused, and broke off: ${cause.message}`, { cause })),
      )
    })
    upstream.once('error', (cause) =>
      fail(new RclaudeError('agent_failed', `the connection to the agent broke: ${cause.message}`, { cause })),
    )
    upstream.end()
  })
}

/** Longest refusal of an agent that is passed on. */
const MAX_REFUSAL = 4_096

async function refusalOf(response: IncomingMessage): Promise<RclaudeError> {
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) {
    text += chunk
    if (text.length > MAX_REFUSAL) break
  }
  const detail = /"detail":"((?:[^"\\]|\\.)*)"/.exec(text)?.[1] ?? `status ${response.statusCode}`
  if (response.statusCode === ERROR_CODES.port_refused.status && text.includes('"code":"port_refused"'))
    return new RclaudeError('port_refused', detail.slice(0, 500))
  const code = REFUSALS.get(response.statusCode) ?? 'agent_failed'
  return new RclaudeError(code, `the agent refused: ${detail.slice(0, 500)}`)
}

/** What an agent may refuse with; another status is a failure of its own. */
const REFUSALS = new Map<number | undefined, ErrorCode>([
  [400, 'invalid'],
  [403, 'forbidden'],
  [404, 'not_found'],
  [409, 'conflict'],
  [410, 'gone'],
  [429, 'limit'],
])

/** Both directions with back-pressure; an end or a fault on one side ends the other. */
function join(stream: Duplex, socket: Duplex): void {
  const close = () => {
    stream.destroy()
    socket.destroy()
  }
  stream.on('error', close).on('close', close)
  socket.on('error', close).on('close', close)
  gatherWrites(stream, socket)
  stream.pipe(socket).pipe(stream)
}

const acceptOf = (key: string): string =>
  createHash('sha1')
    .update(key + WEBSOCKET_GUID)
    .digest('base64')

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
