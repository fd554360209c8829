/** A WebSocket whose other side answers no ping is gone. */
import type { WebSocket } from 'ws'

/** A client that answers no ping for this long is gone. */
const PING_MS = 15_000

export function pingRegularly(webSocket: WebSocket, closed: AbortSignal): void {
  let answered = true
  webSocket.on('pong', () => {
    answered = true
  })
  const timer = setInterval(() => {
    if (!answered) return webSocket.terminate()
    answered = false
    webSocket.ping()
  }, PING_MS)
  timer.unref()
  closed.addEventListener('abort', () => clearInterval(timer), { once: true })
}
