/** yamux-js on the same WebSocket. It wants whole frames per message, which its own messages are. */
import type WebSocket from 'ws'
import { Client, Server } from 'yamux-js'
import { ASK, type Peer, writerOf, writerTo } from './peer.ts'

const QUIET = { enableKeepAlive: false, logger: () => {} }

export const yamuxJs: Peer = {
  async send(ws, sendFile) {
    // Only its Server takes streams in, whoever dialled.
    const session = new Server((stream) => {
      stream.on('error', () => {})
      stream.once('data', () => {
        sendFile(writerTo(stream)).catch(() => {}) // it never learns that the reader is gone
      })
    }, QUIET)
    join(session, ws)
  },
  async relay(ws) {
    const session = new Client(QUIET)
    join(session, ws)
    return (client) => {
      const stream = session.open()
      stream.on('error', () => {})
      stream.write(ASK)
      stream.pipe(client)
      client.once('close', () => stream.destroy())
    }
  },
}

function join(session: Client | Server, ws: WebSocket): void {
  const write = writerOf(ws)
  session.on('error', () => {})
  session.on('data', (bytes: Buffer) => {
    const full = write(bytes)
    if (full === undefined) return
    session.pause()
    void full.then(() => session.resume())
  })
  ws.on('message', (bytes: Buffer) => void session.write(bytes))
}
