/** A WebSocket on a preview's host, such as a dev server's hot reload: after the server's valid 101 bytes are moved. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { RclaudeError } from '../../../protocol/errors.ts'
import type { Deps } from '../context.ts'
import { acceptOf, shakeHands } from '../handshake.ts'
import { join } from '../join.ts'
import { headerOf } from '../request.ts'
import { checkCaller, toServer } from './headers.ts'
import type { PreviewPlace } from './hosts.ts'
import { openPort } from './port.ts'

/** Of the server's answer, what a browser needs; spliced are frames of both ends, extensions included. */
const PASSED_ON = ['sec-websocket-protocol', 'sec-websocket-extensions'] as const

export async function upgradePreview(
  deps: Deps,
  place: PreviewPlace,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  const key = headerOf(request, 'sec-websocket-key')
  if (request.headers.upgrade?.toLowerCase() !== 'websocket' || request.method !== 'GET')
    throw new RclaudeError('unsupported', 'the only upgrade here is to websocket')
  if (key === undefined || headerOf(request, 'sec-websocket-version') !== '13' || !request.url?.startsWith('/'))
    throw new RclaudeError('invalid', 'the WebSocket handshake is not version 13 with a key and a path')
  checkCaller(request)
  const { principal, task, previewId } = deps.previews.admit(place, request)
  deps.portCount.enter(task.id, socket)
  deps.connections.add(principal, socket, task.id, previewId)
  const server = await openPort(deps, task, place.port, principal)
  socket.once('close', () => server.destroy())
  if (socket.destroyed) return void server.destroy()
  const headers = { ...toServer(request.headers, place.port), upgrade: 'websocket' }
  const said = await shakeHands(
    server,
    request.url,
    headers,
    (answer) => answer['sec-websocket-accept'] === acceptOf(key),
  )
  if (socket.destroyed) return void said.stream.destroy()
  const lines = PASSED_ON.flatMap((name) =>
    said.headers[name] === undefined ? [] : [`${name}: ${said.headers[name]}\r\n`],
  )
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptOf(key)}\r\n${lines.join('')}\r\n`,
  )
  if (said.head.length > 0) socket.write(said.head)
  if (head.length > 0) said.stream.write(head)
  join(said.stream, socket)
}
