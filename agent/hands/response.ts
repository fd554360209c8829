/** What the second process answers. */
import type { ClientRequest, IncomingMessage } from 'node:http'
import { readAtMost } from '../../host/read-at-most.ts'

/** @throws the connection's error */
export function responseTo(request: ClientRequest): Promise<IncomingMessage> {
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    request.once('response', resolve)
    request.on('error', reject) // for as long as the request lives
    request.once('close', () => reject(new Error('the connection ended before an answer')))
    request.once('upgrade', (_response, socket) => {
      socket.destroy()
      reject(new Error('an upgrade instead of an answer'))
    })
  })
  response.catch(() => {}) // whoever awaits it later is told
  return response
}

/** @throws Error when it is longer, or cut */
export const textOf = (response: IncomingMessage, maxBytes: number): Promise<string> =>
  readAtMost(maxBytes, response, () => new Error(`an answer of more than ${maxBytes} bytes`))
