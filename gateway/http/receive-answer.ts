/** The head of an agent's answer to one request, within a minute of the request's last byte. */
import type { ClientRequest, IncomingMessage } from 'node:http'
import { RclaudeError } from '../../protocol/errors.ts'

/** Neither the request's body, which the client sends, nor the answer's has a time limit. */
export const HEAD_TIMEOUT_MS = 60_000

/** @throws RclaudeError `agent_timeout`, `agent_failed` */
export function receiveAnswer(upstream: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const stopWaiting = waitAfterRequest(upstream, HEAD_TIMEOUT_MS, () => {
      reject(new RclaudeError('agent_timeout', `the agent did not answer within ${HEAD_TIMEOUT_MS / 1000} s`))
      upstream.destroy()
    })
    upstream.once('response', (response) => {
      stopWaiting()
      resolve(response)
    })
    upstream.once('upgrade', (_response, socket) => {
      stopWaiting()
      socket.destroy()
      reject(new RclaudeError('agent_failed', 'the agent answered an ordinary request with an upgrade'))
    })
    upstream.once('error', (cause) => {
      stopWaiting()
      reject(new RclaudeError('agent_failed', `the connection to the agent broke: ${cause.message}`, { cause }))
    })
  })
}

/** `onLate` is called so long after the request's last byte, unless it is stopped before. @returns to stop it */
export function waitAfterRequest(upstream: ClientRequest, timeoutMs: number, onLate: () => void): () => void {
  let timer: NodeJS.Timeout | undefined
  const start = () => {
    timer = setTimeout(onLate, timeoutMs)
  }
  const stop = () => {
    upstream.off('finish', start)
    clearTimeout(timer)
  }
  upstream.once('finish', start)
  upstream.once('close', stop)
  return stop
}
