/** The head of an agent's answer to one request, within a minute of the request's last byte, by an agent that reads the request. */
import type { ClientRequest, IncomingMessage } from 'node:http'
import { RclaudeError } from '../../protocol/errors.ts'

/** Neither the request's body, which the client sends, nor the answer's has a time limit. */
export const HEAD_TIMEOUT_MS = 60_000
/** An agent that takes nothing of what waits for it: longer than a tunnel may be away and come back. */
export const STALL_TIMEOUT_MS = 120_000
const STALL_LOOKS = 8

/** @throws RclaudeError `agent_timeout`, `agent_failed` */
export function receiveAnswer(upstream: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const giveUp = (why: string) => {
      reject(new RclaudeError('agent_timeout', why))
      upstream.destroy()
    }
    const stops = [
      waitAfterRequest(upstream, HEAD_TIMEOUT_MS, () =>
        giveUp(`the agent did not answer within ${HEAD_TIMEOUT_MS / 1000} s`),
      ),
      watchReader(upstream, STALL_TIMEOUT_MS, () =>
        giveUp(`the agent has read nothing of the request for ${STALL_TIMEOUT_MS / 1000} s`),
      ),
    ]
    const stopWaiting = () => {
      for (const stop of stops) stop()
    }
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

/** `onStall` is called when bytes of the request have waited so long without any being taken. @returns to stop it */
function watchReader(upstream: ClientRequest, timeoutMs: number, onStall: () => void): () => void {
  let stalledLooks = 0
  const timer = setInterval(() => {
    stalledLooks = upstream.writableNeedDrain ? stalledLooks + 1 : 0
    if (stalledLooks > STALL_LOOKS) onStall()
  }, timeoutMs / STALL_LOOKS)
  const reset = () => {
    stalledLooks = 0
  }
  const stop = () => {
    upstream.off('drain', reset)
    clearInterval(timer)
  }
  upstream.on('drain', reset)
  upstream.once('close', stop)
  return stop
}
