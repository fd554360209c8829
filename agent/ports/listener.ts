/**
 * Listens on a port of our loopback for a client, who is told of each connection and takes it up as one of its own
 * (`rclaude.listen.v1`). It lives as long as the client's WebSocket.
 */
import { createServer, type Server, type Socket } from 'node:net'
import type { WebSocket } from 'ws'
import { RclaudeError } from '../../protocol/errors.ts'
import type { ConnectionId } from '../../protocol/ids.ts'
import type { ListenMessage } from '../../protocol/port.ts'
import { pingRegularly } from '../ping.ts'
import type { PortConnections } from './connections.ts'

const HOST = '127.0.0.1'

/** @param port 0 takes a free one. @throws RclaudeError `conflict` when the port is taken */
export function listenOn(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true })
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'is taken' : `cannot be listened on (${error.code})`
      reject(new RclaudeError('conflict', `port ${port} of the task ${why}: choose another`, { cause: error }))
    })
    server.listen(port, HOST, () => resolve(server))
  })
}

export function serveListener(server: Server, webSocket: WebSocket, user: string, connections: PortConnections): void {
  const say = (message: ListenMessage) => webSocket.send(JSON.stringify(message), () => {})
  server.removeAllListeners('error')
  server.on('error', () => webSocket.close(1011, 'the listener failed'))
  const told = new Set<ConnectionId>()
  server.on('connection', (socket: Socket) => {
    try {
      connections.checkRoom()
      const connection = connections.hold(socket, user)
      told.add(connection)
      socket.once('close', () => told.delete(connection))
      say({ type: 'accepted', connection })
    } catch {
      socket.resetAndDestroy()
    }
  })
  webSocket.on('error', () => {})
  webSocket.once('close', () => {
    server.close()
    for (const connection of told) connections.dropUnclaimed(connection)
  })
  webSocket.on('message', () => webSocket.close(1003, 'nothing is expected here'))
  pingRegularly(webSocket)
  const address = server.address()
  say({ type: 'listening', port: typeof address === 'object' && address !== null ? address.port : 0 })
}
