/**
 * Dials the gateway and stays dialled. The run credential is made here and lives in memory only; the join code is sent
 * until it has been exchanged once, and then forgotten.
 */
import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { DIAL_HEADERS } from '../protocol/run.ts'
import {
  AGENT_CAPABILITIES,
  CAPABILITIES_HEADER,
  GATEWAY_HEADER,
  PROTOCOL_HEADER,
  PROTOCOL_VERSION,
  VERSION,
  VERSION_HEADER,
} from '../protocol/version.ts'
import type { BackoffOptions } from '../tunnel/backoff.ts'
import { connectWebSocket } from '../tunnel/connect.ts'
import { keepDialled } from '../tunnel/dial.ts'
import { UpgradeRefused } from '../tunnel/errors.ts'
import { createTunnel, OWN_PEER, type Tunnel } from '../tunnel/tunnel.ts'
import { problemIn } from './refusal.ts'

export interface DialOptions {
  gatewayUrl: string
  taskId: string
  launchId: string
  joinCode: string
  /** Called with each new tunnel. */
  onTunnel(tunnel: Tunnel): void
  /** Called when a tunnel is lost, with why. */
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
  let joinCode: string | undefined = options.joinCode
  /** The gateway that took us in. */
  let gateway: { id: string | undefined } | undefined
  await keepDialled({
    signal: options.signal,
    ...(options.backoff && { backoff: options.backoff }),
    isFinal: (error) => isSentAway(error, gateway),
    async connect(signal) {
      const { transport, headers } = await connectWebSocket(url, {
        signal,
        headers: {
          authorization: `Bearer ${credential}`,
          [DIAL_HEADERS.taskId]: options.taskId,
          [DIAL_HEADERS.launchId]: options.launchId,
          [PROTOCOL_HEADER]: String(PROTOCOL_VERSION),
          [VERSION_HEADER]: VERSION,
          [CAPABILITIES_HEADER]: AGENT_CAPABILITIES.join(','),
          ...(joinCode !== undefined && { [DIAL_HEADERS.joinCode]: joinCode }),
        },
      })
      joinCode = undefined // exchanged: the answer has come
      gateway ??= { id: idOf(headers) }
      return createTunnel(transport, { side: 'client', ...OWN_PEER })
    },
    async onSession(tunnel) {
      const close = () => void tunnel.close('the agent is ending')
      options.signal.addEventListener('abort', close, { once: true })
      options.onTunnel(tunnel)
      const { message } = await tunnel.closed
      options.signal.removeEventListener('abort', close)
      options.onLost(message)
    },
    onRetry: ({ delayMs, error }) =>
      options.log(`dialling again in ${Math.round(delayMs)} ms${error instanceof Error ? `: ${error.message}` : ''}`),
  })
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
