/** What the second process answers. */
import type { ClientRequest, IncomingMessage } from 'node:http'

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
export async function readAtMost(maxBytes: number, response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    length += part.length
    if (length > maxBytes) throw new Error(`an answer of more than ${maxBytes} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}
