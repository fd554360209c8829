/**
 * Dials the gateway and stays dialled. The run credential is made here and lives in memory only; the join code is sent
 * until it has been exchanged once, and then forgotten. A tunnel that loses its connection goes on over the next one.
 */
import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { DIAL_HEADERS } from '../protocol/run.ts'
import {
  AGENT_CAPABILITIES,
  CAPABILITIES_HEADER,
  GATEWAY_HEADER,
  OWN_PROTOCOLS,
  PROTOCOL_HEADER,
  VERSION,
  VERSION_HEADER,
} from '../protocol/version.ts'
import type { BackoffOptions } from '../tunnel/backoff.ts'
import { type Connected, connectWebSocket } from '../tunnel/connect.ts'
import { keepDialled } from '../tunnel/dial.ts'
import { type Connection, SessionDialler } from '../tunnel/dial-session.ts'
import { UpgradeRefused } from '../tunnel/errors.ts'
import { OWN_PEER, type Tunnel } from '../tunnel/tunnel.ts'
import { problemIn } from './refusal.ts'
import type { Way } from './way.ts'

export interface DialOptions {
  gatewayUrl: string
  taskId: string
  launchId: string
  joinCode: string
  /** What `machineName` found. */
  machine?: string | undefined
  way?: Way
  /** Called with each new tunnel. */
  onTunnel(tunnel: Tunnel): void
  /** Called when a tunnel is lost, with why. The loss of a connection that is replaced in time is none. */
  onLost(reason: string): void
  log(message: string): void
  signal: AbortSignal
  backoff?: BackoffOptions
}

/** Answers that a gateway gives an agent that it will never take in. */
const NEVER_TAKEN_IN: readonly number[] = [401, 410, 426]

/** Resolves when the signal fires; rejects when the gateway says that it wants this agent no more. */
export async function stayDialled(options: DialOptions): Promise<void> {
  const credential = randomBytes(32).toString('base64url')
  const url = `${options.gatewayUrl.replace(/^http/, 'ws').replace(/\/$/, '')}/v1/tunnel`
  const { proxy, ...way } = options.way ?? {}
  if (proxy !== undefined) options.log(`the gateway is dialled through the proxy ${proxy}`)
  let joinCode: string | undefined = options.joinCode
  /** The gateway that took us in. */
  let gateway: { id: string | undefined } | undefined
  const dialler = new SessionDialler({ dial, tunnel: { side: 'client', ...OWN_PEER } })
  const close = () => void dialler.tunnel?.close('the agent is ending')
  options.signal.addEventListener('abort', close, { once: true })
  try {
    await keepDialled<Connection>({
      signal: options.signal,
      ...(options.backoff && { backoff: options.backoff }),
      isFinal: (error) => isSentAway(error, gateway),
      connect: (signal) => dialler.connect(signal),
      onSession: use,
      wasUseful: (connection) => connection.hasReceived(),
      onRetry: ({ delayMs, error }) =>
        options.log(`dialling again in ${Math.round(delayMs)} ms${error instanceof Error ? `: ${error.message}` : ''}`),
    })
  } finally {
    options.signal.removeEventListener('abort', close)
    await dialler.tunnel?.close('the agent dials no more')
  }

  async function dial(headers: Record<string, string>, signal: AbortSignal): Promise<Connected> {
    const connected = await connectWebSocket(url, {
      ...way,
      signal,
      headers: {
        ...headers,
        authorization: `Bearer ${credential}`,
        [DIAL_HEADERS.taskId]: options.taskId,
        [DIAL_HEADERS.launchId]: options.launchId,
        [PROTOCOL_HEADER]: OWN_PROTOCOLS,
        [VERSION_HEADER]: VERSION,
        [CAPABILITIES_HEADER]: AGENT_CAPABILITIES.join(','),
        ...(joinCode !== undefined && { [DIAL_HEADERS.joinCode]: joinCode }),
        ...(joinCode !== undefined && options.machine && { [DIAL_HEADERS.machine]: options.machine }),
      },
    })
    joinCode = undefined // exchanged: the answer has come
    gateway ??= { id: idOf(connected.headers) }
    return connected
  }

  /** Until the connection is lost. */
  async function use({ tunnel, isNew, lost }: Connection): Promise<void> {
    if (options.signal.aborted) close()
    if (isNew) {
      options.onTunnel(tunnel)
      void tunnel.closed.then(({ message }) => options.onLost(message))
    }
    const reason = await lost
    if (!tunnel.isClosed) options.log(`lost the connection, the tunnel waits for another: ${reason}`)
  }
}

/**
 * Work is given up only on the word of the gateway that took it in: its address may belong to another program for a
 * while, or its configuration may be wrong until somebody mends it. Whatever is not final ends with the time offline.
 */
function isSentAway(error: unknown, gateway: { id: string | undefined } | undefined): boolean {
  if (!(error instanceof UpgradeRefused)) return false
  const code = problemIn(error.body)?.code
  if (gateway === undefined) return code !== undefined && NEVER_TAKEN_IN.includes(error.status)
  return error.status === 410 && code === 'gone' && gateway.id !== undefined && idOf(error.headers) === gateway.id
}

const idOf = (headers: IncomingHttpHeaders): string | undefined => headers[GATEWAY_HEADER]?.toString()
