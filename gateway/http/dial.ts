/**
 * An agent dials in. Its identity is settled before the upgrade: the first time it brings the join code of its launch
 * together with a run credential that it made itself, and the code is burnt in exchange; from then on the credential
 * alone counts. A code that comes again with another credential was stolen, and the task is stopped. A launcher that can
 * tell whether the agent dials from the machine that it launched is asked, once.
 *
 * A dial that names the tunnel of a lost connection goes on with it: the link, its streams and whoever uses them notice
 * nothing. Sessions belong to a launch, which has one credential for good: another agent gets nowhere with a session's id.
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
import type { Admission } from '../../tunnel/accept-session.ts'
import { TunnelError } from '../../tunnel/errors.ts'
import { parseAsk } from '../../tunnel/resume-headers.ts'
import type { Transport } from '../../tunnel/transport.ts'
import { createTunnel, OWN_PEER } from '../../tunnel/tunnel.ts'
import { WEBSOCKET_LIMITS, webSocketCarrier, webSocketTransport } from '../../tunnel/websocket.ts'
import { hashSecret } from '../auth/tokens.ts'
import type { Launch } from '../store/store.ts'
import { connected } from '../tasks/connection.ts'
import { alarm, notLaunched, unvouched, vouch } from '../tasks/identity.ts'
import { AgentLink, type PeerInfo } from '../tunnels/links.ts'
import type { Deps } from './context.ts'
import { headerOf } from './request.ts'

export const TUNNEL_PATH = '/v1/tunnel'

const server = new WebSocketServer({ noServer: true, clientTracking: false, ...WEBSOCKET_LIMITS })
server.on('headers', (headers, request) => {
  for (const [name, value] of Object.entries(answers.get(request) ?? {})) headers.push(`${name}: ${value}`)
})

/** What the 101 says to each dial. */
const answers = new WeakMap<IncomingMessage, Record<string, string>>()

const answerTo = (deps: Deps, admission: Admission | undefined): Record<string, string> => ({
  // Whose answer it is: an agent that is refused by another gateway, on a port that changed hands, goes on dialling.
  [GATEWAY_HEADER]: deps.store.gatewayId,
  [PROTOCOL_HEADER]: String(PROTOCOL_VERSION),
  [VERSION_HEADER]: VERSION,
  [CAPABILITIES_HEADER]: GATEWAY_CAPABILITIES.join(','),
  ...admission?.headers,
})

/** @throws RclaudeError that the caller writes to the socket */
export async function acceptTunnel(deps: Deps, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
  checkGateway(deps)
  const mismatch = protocolMismatch('the gateway', 'this agent', headerOf(request, PROTOCOL_HEADER))
  if (mismatch !== undefined) throw new RclaudeError('version_mismatch', mismatch)
  const launch = identify(deps, request)
  checkState(deps, launch)
  deps.dialLimit.count(launch.launchId)
  const stranger = unvouched(deps, launch)
  if (stranger !== undefined) {
    await vouch(deps, launch, stranger, headerOf(request, DIAL_HEADERS.machine)?.slice(0, MAX_CLAIM))
    checkGateway(deps)
    checkState(deps, launch)
  }
  const admission = admit(deps, launch, request)
  answers.set(request, answerTo(deps, admission))
  const begin = (transport: Transport): AgentLink => {
    const remoteAddress = deps.addressOf(request)
    const options = { ...OWN_PEER, maxIncomingStreams: deps.config.limits.agentStreams, remoteAddress }
    const tunnel = createTunnel(transport, { side: 'server', ...options })
    return new AgentLink(launch.taskId, launch.launchId, tunnel, peerOf(request))
  }
  server.handleUpgrade(request, socket, head, (webSocket) => {
    if (admission === undefined) return connected(deps, begin(webSocketTransport(webSocket)))
    const link = admission.isNew ? begin(admission.transport) : undefined
    admission.attach(webSocketCarrier(webSocket))
    if (link !== undefined) connected(deps, link)
  })
}

function checkGateway(deps: Deps): void {
  if (!deps.isReady())
    throw new RclaudeError('unavailable', 'the gateway is starting or stopping', { retryAfterSeconds: 1 })
  const held = deps.held() // its agents may be another's: they go on dialling, or stay where they are
  if (held !== undefined) throw new RclaudeError('unavailable', held, { retryAfterSeconds: 10 })
}

/** Undefined for an older agent, whose tunnels end with their connection. */
function admit(deps: Deps, launch: Launch, request: IncomingMessage): Admission | undefined {
  try {
    const ask = parseAsk(request.headers)
    return ask && deps.sessions.admit(launch.launchId, ask)
  } catch (cause) {
    if (!(cause instanceof TunnelError)) throw cause
    deps.log.warn({ taskId: launch.taskId, launchId: launch.launchId, reason: cause.message }, 'a dial was refused')
    throw new RclaudeError(cause.code === 'TUNNEL_STALE_EPOCH' ? 'conflict' : 'invalid', cause.message, { cause })
  }
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
const MAX_CLAIM = 300

function identify(deps: Deps, request: IncomingMessage): Launch {
  const taskId = TaskId.safeParse(headerOf(request, DIAL_HEADERS.taskId))
  const launchId = LaunchId.safeParse(headerOf(request, DIAL_HEADERS.launchId))
  const credential = /^Bearer ([\x21-\x7e]{32,256})$/.exec(request.headers.authorization ?? '')?.[1]
  if (!taskId.success || !launchId.success || credential === undefined) throw notLaunched()
  const launch = deps.store.getLaunch(launchId.data)
  if (launch === undefined || launch.taskId !== taskId.data) throw notLaunched()
  if (launch.closedAt !== undefined) throw new RclaudeError('gone', 'the task of this agent has ended')
  const credentialHash = hashSecret(credential)
  const joinCode = headerOf(request, DIAL_HEADERS.joinCode)
  if (joinCode === undefined) {
    if (launch.credentialHash === undefined || !equal(launch.credentialHash, credentialHash)) throw notLaunched()
    return launch
  }
  if (!equal(launch.joinHash, hashSecret(joinCode))) throw notLaunched()
  if (!deps.store.bindCredential(launch.launchId, credentialHash)) {
    alarm(deps, launch, 'a join code was used twice', 'its join code was used by a second agent')
    throw notLaunched()
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
