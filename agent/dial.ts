/**
 * Dials the gateway and stays dialled. The run credential is made here and lives in memory only; the join code is sent
 * until it has been exchanged once, and then forgotten.
 */
import { randomBytes } from 'node:crypto'
import { DIAL_HEADERS } from '../protocol/run.ts'
import {
  AGENT_CAPABILITIES,
  CAPABILITIES_HEADER,
  PROTOCOL_HEADER,
  PROTOCOL_VERSION,
  VERSION,
  VERSION_HEADER,
} from '../protocol/version.ts'
import { connectWebSocket } from '../tunnel/connect.ts'
import { keepDialled } from '../tunnel/dial.ts'
import { createTunnel, OWN_PEER, type Tunnel } from '../tunnel/tunnel.ts'

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
}

/** Resolves when the signal fires; rejects when the gateway says that it wants this agent no more. */
export async function stayDialled(options: DialOptions): Promise<void> {
  const credential = randomBytes(32).toString('base64url')
  const url = `${options.gatewayUrl.replace(/^http/, 'ws').replace(/\/$/, '')}/v1/tunnel`
  let joinCode: string | undefined = options.joinCode
  await keepDialled({
    signal: options.signal,
    async connect(signal) {
      const { transport } = await connectWebSocket(url, {
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
