/** Bare `ws`: one message a piece, no streams, so one client at a time. What any multiplexing is measured against. */
import { ASK, type Peer, passOn, writerOf } from './peer.ts'

export const wsRelay: Peer = {
  async send(ws, sendFile) {
    ws.on('message', () => void sendFile(writerOf(ws)).catch(() => ws.terminate()))
  },
  async relay(ws) {
    return (client) => {
      const onMessage = (bytes: Buffer): void => passOn(bytes, client, ws)
      ws.on('message', onMessage)
      client.once('close', () => ws.off('message', onMessage))
      ws.send(ASK)
    }
  },
}
