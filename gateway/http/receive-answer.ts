/** The head of an agent's answer to one request, within a minute of the request's last byte. */
import type { ClientRequest, IncomingMessage } from 'node:http'
import { RclaudeError } from '../../protocol/errors.ts'

/** Neither the request's body, which the client sends, nor the answer's has a time limit. */
export const HEAD_TIMEOUT_MS = 60_000

/** @throws RclaudeError `agent_timeout`, `agent_failed` */
export function receiveAnswer(upstream: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined
    const startWaiting = () => {
      timer = setTimeout(() => {
        reject(new RclaudeError('agent_timeout', `the agent did not answer within ${HEAD_TIMEOUT_MS / 1000} s`))
        upstream.destroy()
      }, HEAD_TIMEOUT_MS)
    }
    const stopWaiting = () => {
      upstream.off('finish', startWaiting)
      clearTimeout(timer)
    }
    upstream.once('finish', startWaiting)
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
    upstream.once('close', stopWaiting)
  })
}
