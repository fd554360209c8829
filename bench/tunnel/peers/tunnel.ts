/** Our own tunnel without gateway, agent and HTTP: what the multiplexing alone costs. */
import { createTunnel, OWN_PEER } from '../../../tunnel/tunnel.ts'
import { webSocketTransport } from '../../../tunnel/websocket.ts'
import { ASK, type Peer, writerTo } from './peer.ts'

export const ourTunnel: Peer = {
  async send(ws, sendFile) {
    createTunnel(webSocketTransport(ws), { side: 'client', ...OWN_PEER }).onStream((stream) => {
      stream.on('error', () => {})
      stream.resume()
      sendFile(writerTo(stream)).then(
        () => stream.end(),
        () => stream.destroy(),
      )
    })
  },
  async relay(ws) {
    const tunnel = createTunnel(webSocketTransport(ws), { side: 'server', ...OWN_PEER })
    return (client) => {
      const stream = tunnel.open()
      stream.on('error', () => {})
      stream.write(ASK)
      stream.pipe(client)
      client.once('close', () => stream.destroy())
    }
  },
}
