/**
 * The middle of the compared rows, in the gateway's place: one process that the sender dials and that TCP clients connect
 * to. It does nothing but pass bytes on: no HTTP, no authorisation, no store.
 */
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { WebSocketServer } from 'ws'
import { type PeerName, peers } from '../peers/peers.ts'
import { serve } from './serve.ts'

export type RelayCalls = {
  /** Plain TCP: each connection to the port that is returned goes on to `port`. */
  forward(request: { port: number }): Promise<number>
  /** A multiplexer: `tunnelPort` for the sender's WebSocket, `clientPort` for clients. */
  relay(request: { peer: PeerName }): Promise<{ tunnelPort: number; clientPort: number }>
}

const calls: RelayCalls = {
  forward: ({ port }) =>
    listen(
      createServer({ noDelay: true }, (client) => {
        const upstream = connect({ port, host: '127.0.0.1', noDelay: true })
        client.pipe(upstream).pipe(client)
        for (const [one, other] of [
          [client, upstream],
          [upstream, client],
        ] as const)
          one.on('error', () => {}).once('close', () => other.destroy())
      }),
    ),
  async relay({ peer }) {
    const { relay } = await peers[peer]()
    let connectClient: ((client: Socket) => void) | undefined
    const http = createHttpServer()
    new WebSocketServer({ server: http, perMessageDeflate: false }).on('connection', async (ws) => {
      connectClient = await relay(ws)
    })
    const clients = createServer({ noDelay: true }, (client) => {
      client.on('error', () => {})
      if (connectClient === undefined) client.destroy()
      else connectClient(client)
    })
    return { tunnelPort: await listen(http), clientPort: await listen(clients) }
  },
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)))
}

serve(calls)
