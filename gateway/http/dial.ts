/**
 * An agent dials in. Its identity is settled before the upgrade: the first time it brings the join code of its launch
 * together with a run credential that it made itself, and the code is burnt in exchange; from then on the credential
 * alone counts. A code that comes again with another credential was stolen, and the task is stopped.
 */
import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import { RclaudeError } from '../../protocol/errors.ts'
import { LaunchId, TaskId } from '../../protocol/ids.ts'
import { DIAL_HEADERS } from '../../protocol/run.ts'
import {
  CAPABILITIES_HEADER,
  GATEWAY_CAPABILITIES,
  GATEWAY_HEADER,
  PROTOCOL_HEADER,
  PROTOCOL_VERSION,
  protocolMismatch,
  VERSION,
  VERSION_HEADER,
} from '../../protocol/version.ts'
import { createTunnel, OWN_PEER } from '../../tunnel/tunnel.ts'
import { WEBSOCKET_LIMITS, webSocketTransport } from '../../tunnel/websocket.ts'
import { hashSecret } from '../auth/tokens.ts'
import type { Launch } from '../store/store.ts'
import { connected } from '../tasks/connection.ts'
import { requestStop } from '../tasks/requests.ts'
import { AgentLink, type PeerInfo } from '../tunnels/links.ts'
import type { Deps } from './context.ts'
import { addressOf, headerOf } from './request.ts'

export const TUNNEL_PATH = '/v1/tunnel'

const server = new WebSocketServer({ noServer: true, clientTracking: false, ...WEBSOCKET_LIMITS })
server.on('headers', (headers, request) =>
  headers.push(
    `${GATEWAY_HEADER}: ${gatewayOf.get(request)}`,
    `${PROTOCOL_HEADER}: ${PROTOCOL_VERSION}`,
    `${VERSION_HEADER}: ${VERSION}`,
    `${CAPABILITIES_HEADER}: ${GATEWAY_CAPABILITIES.join(',')}`,
  ),
)

/** Whose answer it is: an agent that is refused by another gateway, on a port that changed hands, goes on dialling. */
const gatewayOf = new WeakMap<IncomingMessage, string>()

/** @throws RclaudeError that the caller writes to the socket */
export function acceptTunnel(deps: Deps, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  if (!deps.isReady())
    throw new RclaudeError('unavailable', 'the gateway is starting or stopping', { retryAfterSeconds: 1 })
  const mismatch = protocolMismatch('the gateway', 'this agent', headerOf(request, PROTOCOL_HEADER))
  if (mismatch !== undefined) throw new RclaudeError('version_mismatch', mismatch)
  const launch = identify(deps, request)
  checkState(deps, launch)
  deps.dialLimit.count(launch.launchId)
  gatewayOf.set(request, deps.store.gatewayId)
  server.handleUpgrade(request, socket, head, (webSocket) => {
    const tunnel = createTunnel(webSocketTransport(webSocket), {
      side: 'server',
      ...OWN_PEER,
      maxIncomingStreams: deps.config.limits.agentStreams,
      remoteAddress: addressOf(request),
    })
    connected(deps, new AgentLink(launch.taskId, launch.launchId, tunnel, peerOf(request)))
  })
}

/** Claims, for people to read: nothing is decided by them. */
function peerOf(request: IncomingMessage): PeerInfo {
  const capabilities = (headerOf(request, CAPABILITIES_HEADER) ?? '').slice(0, MAX_CLAIM).split(',')
  return {
    version: (headerOf(request, VERSION_HEADER) ?? 'unknown').slice(0, MAX_CLAIM),
    capabilities: capabilities.filter((name) => /^[a-z0-9-]+$/.test(name)),
  }
}

/** Longest header that is taken over from an agent. */
const MAX_CLAIM = 200

function identify(deps: Deps, request: IncomingMessage): Launch {
  const refuse = () => new RclaudeError('unauthenticated', 'this is no launch of a living task')
  const taskId = TaskId.safeParse(headerOf(request, DIAL_HEADERS.taskId))
  const launchId = LaunchId.safeParse(headerOf(request, DIAL_HEADERS.launchId))
  const credential = /^Bearer ([\x21-\x7e]{32,256})$/.exec(request.headers.authorization ?? '')?.[1]
  if (!taskId.success || !launchId.success || credential === undefined) throw refuse()
  const launch = deps.store.getLaunch(launchId.data)
  if (launch === undefined || launch.taskId !== taskId.data) throw refuse()
  if (launch.closedAt !== undefined) throw new RclaudeError('gone', 'the task of this agent has ended')
  const credentialHash = hashSecret(credential)
  const joinCode = headerOf(request, DIAL_HEADERS.joinCode)
  if (joinCode === undefined) {
    if (launch.credentialHash === undefined || !equal(launch.credentialHash, credentialHash)) throw refuse()
    return launch
  }
  if (!equal(launch.joinHash, hashSecret(joinCode))) throw refuse()
  if (!deps.store.bindCredential(launch.launchId, credentialHash)) {
    deps.log.error(
      { taskId: launch.taskId, launchId: launch.launchId },
      'a join code was used twice: stopping the task',
    )
    const task = deps.store.getTask(launch.taskId)
    if (task) requestStop(deps, task, 'gateway', 'its join code was used by a second agent')
    throw refuse()
  }
  return launch
}

function checkState(deps: Deps, launch: Launch): void {
  const task = deps.store.getTask(launch.taskId)
  if (task?.state === 'launching' && task.launchId === launch.launchId)
    throw new RclaudeError('unavailable', 'the launch is still being recorded', { retryAfterSeconds: 0 })
  const current = task !== undefined && 'placement' in task ? task.placement?.launchId : undefined
  if (current !== launch.launchId) throw new RclaudeError('gone', 'the task of this agent has ended')
}

const equal = (a: string, b: string): boolean =>
  a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b))
