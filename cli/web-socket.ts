/** What our WebSockets have in common: their deadlines, how one that fell silent is found, and what a failure means. */
import { WebSocket } from 'ws'
import { ProxyError } from '../host/proxy.ts'
import { RclaudeError } from '../protocol/errors.ts'

/** From dialling to the upgrade. */
export const HANDSHAKE_MS = 20_000
/** A ping this often; a connection with nothing heard between two of them is dead. */
const PING_MS = 10_000
/** How long the other side may take to say goodbye. */
export const GOODBYE_MS = 2_000
/** HTTP answers that another try may turn into a connection. */
export const RETRYABLE_STATUS = new Set([408, 425, 429, 502, 503, 504])

/** `lost`: worth another try. `refused`: not. */
export type ConnectionEnd = { kind: 'lost'; error: Error } | { kind: 'refused'; error: RclaudeError }

/** Pings, and acts once nothing at all came back. */
export function onSilence(webSocket: WebSocket, act: () => void): void {
  let heard = true
  const hear = () => {
    heard = true
  }
  webSocket.on('pong', hear)
  webSocket.on('message', hear)
  const timer = setInterval(() => {
    if (webSocket.readyState !== WebSocket.OPEN) return
    if (!heard) return act()
    heard = false
    webSocket.ping()
  }, PING_MS)
  webSocket.once('close', () => clearInterval(timer))
}

/** A proxy that does not let us through will not do so in a second either. */
export const failureOf = (error: Error): ConnectionEnd =>
  error instanceof ProxyError && error.isFinal
    ? { kind: 'refused', error: new RclaudeError('unavailable', error.message, { cause: error }) }
    : { kind: 'lost', error }
