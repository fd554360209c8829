// Two ends of a tunnel for tests: over an in-memory pipe, over a real WebSocket, or one end and a peer that speaks raw
// frames.

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Duplex, duplexPair, type Readable } from 'node:stream'
import { onTestFinished } from 'vitest'
import { WebSocketServer } from 'ws'
import { connectWebSocket } from '../../tunnel/connect.ts'
import { FrameDecoder } from '../../tunnel/decoder.ts'
import { duplexTransport } from '../../tunnel/duplex.ts'
import { encodeHeader, type FrameHeader, FrameType } from '../../tunnel/frame.ts'
import type { Transport } from '../../tunnel/transport.ts'
import { createTunnel, type Tunnel, type TunnelOptions } from '../../tunnel/tunnel.ts'
import { WEBSOCKET_LIMITS, webSocketTransport } from '../../tunnel/websocket.ts'

export type Options = Partial<TunnelOptions>

export interface Pair {
  readonly client: Tunnel
  readonly server: Tunnel
}

/** `nextCut` says how long each piece is in which bytes reach the sessions. */
export function joinedInMemory(options: Options = {}, serverOptions = options, nextCut?: () => number): Pair {
  const [a, b] = duplexPair()
  return closedAfterTest({
    client: createTunnel(cut(duplexTransport(a), nextCut), { ...options, side: 'client' }),
    server: createTunnel(cut(duplexTransport(b), nextCut), { ...serverOptions, side: 'server' }),
  })
}

export async function joinedOverWebSocket(options: Options = {}, serverOptions = options): Promise<Pair> {
  const { url, next } = await webSocketServer()
  const accepted = next()
  const { transport } = await connectWebSocket(url, { signal: AbortSignal.timeout(5_000) })
  return closedAfterTest({
    client: createTunnel(transport, { ...options, side: 'client' }),
    server: createTunnel(await accepted, { ...serverOptions, side: 'server' }),
  })
}

/** A WebSocket server on loopback that hands out transports in the order of the connections. */
export async function webSocketServer(): Promise<{ url: string; next: () => Promise<Transport> }> {
  const server = createServer()
  const wss = new WebSocketServer({ noServer: true, ...WEBSOCKET_LIMITS })
  const waiting: ((transport: Transport) => void)[] = []
  server.on('upgrade', (request, socket, head) => {
    wss.handleUpgrade(request, socket, head, (ws) => waiting.shift()?.(webSocketTransport(ws)))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    for (const ws of wss.clients) ws.terminate()
    await new Promise((resolve) => server.close(resolve))
  })
  return { url: `ws://127.0.0.1:${portOf(server)}/`, next: () => new Promise((resolve) => waiting.push(resolve)) }
}

export function portOf(server: { address(): AddressInfo | string | null }): number {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server listens on no port')
  return address.port
}

/** A tunnel (server side) whose peer is the test itself, frame by frame. */
export function rawPeer(options: Options = {}) {
  const [peer, ours] = duplexPair()
  const tunnel = createTunnel(duplexTransport(ours), { pingAfterMs: 0, ...options, side: 'server' })
  const frames: FrameHeader[] = []
  const decoder = new FrameDecoder({ onFrame: (frame) => void frames.push(frame), onPayload() {}, onFrameEnd() {} })
  peer.on('data', (bytes: Buffer) => decoder.decode(bytes))
  peer.on('error', () => {})
  onTestFinished(() => tunnel.close('test is over'))
  return {
    tunnel,
    /** What the tunnel sent. */
    frames,
    socket: peer as Duplex,
    send(frame: Partial<FrameHeader>, payload: Buffer = Buffer.alloc(0)) {
      const header = { type: FrameType.data, flags: 0, streamId: 1, length: payload.length, ...frame }
      peer.write(Buffer.concat([encodeHeader(header), payload]))
    },
  }
}

/** What the peer sent until its FIN. (`for await` would also destroy our writing half at the end.) */
export function readAll(stream: Readable): Promise<Buffer> {
  const pieces: Buffer[] = []
  return new Promise((resolve, reject) => {
    stream.on('data', (piece: Buffer) => pieces.push(piece))
    stream.on('end', () => resolve(Buffer.concat(pieces)))
    stream.on('error', reject)
    stream.on('close', () => reject(new Error('the stream was closed before its end')))
  })
}

/** Resolves with the stream's error, or undefined when it closed without one. */
export function closeOf(stream: Duplex): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    let error: NodeJS.ErrnoException | undefined
    stream.on('error', (reason) => {
      error = reason
    })
    if (stream.closed) resolve(stream.errored ?? undefined)
    else stream.on('close', () => resolve(error))
  })
}

function closedAfterTest(pair: Pair): Pair {
  onTestFinished(async () => {
    await Promise.all([pair.client.close('test is over'), pair.server.close('test is over')])
  })
  return pair
}

function cut(transport: Transport, nextCut: (() => number) | undefined): Transport {
  if (nextCut === undefined) return transport
  return {
    ...transport,
    start(receiver) {
      transport.start({
        ...receiver,
        onBytes(bytes) {
          for (let at = 0; at < bytes.length; ) {
            const end = at + nextCut()
            receiver.onBytes(bytes.subarray(at, end))
            at = end
          }
        },
      })
    },
  }
}
