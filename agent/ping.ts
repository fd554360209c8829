/** A WebSocket whose other side answers no ping is gone. */
import type { WebSocket } from 'ws'

/** A client that says nothing for this long is gone. */
const PING_MS = 15_000

export function pingRegularly(webSocket: WebSocket): void {
  let answered = true
  const hear = () => {
    answered = true
  }
  webSocket.on('pong', hear)
  webSocket.on('message', hear)
  const timer = setInterval(() => {
    if (!answered) return webSocket.terminate()
    answered = false
    webSocket.ping()
  }, PING_MS)
  timer.unref()
  webSocket.once('close', () => clearInterval(timer))
}
