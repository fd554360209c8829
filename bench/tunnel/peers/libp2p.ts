/** @libp2p/yamux on the same WebSocket, by its own interfaces: a connection that it writes to, and streams as events. */
import { defaultLogger } from '@libp2p/logger'
import { AbstractMessageStream, type SendResult } from '@libp2p/utils'
import { yamux } from '@libp2p/yamux'
import type WebSocket from 'ws'
import { ASK, type Peer, QUEUE_BYTES, type Write } from './peer.ts'

export const libp2pYamux: Peer = {
  async send(ws, sendFile) {
    const muxer = muxerOn(ws, 'outbound')
    muxer.addEventListener('stream', ({ detail: stream }) => {
      const write: Write = (bytes) =>
        stream.send(bytes)
          ? undefined
          : new Promise((resolve) => stream.addEventListener('drain', () => resolve(), { once: true }))
      // A reader that is gone makes send() throw.
      stream.addEventListener('message', () => void sendFile(write).catch(() => {}), { once: true })
    })
  },
  async relay(ws) {
    const muxer = muxerOn(ws, 'inbound')
    return async (client) => {
      const stream = await muxer.createStream()
      stream.addEventListener('message', ({ data }) => {
        const pieces = data instanceof Uint8Array ? [data] : [...data]
        if (client.destroyed || pieces.map((piece) => client.write(piece)).every(Boolean)) return
        stream.pause()
        client.once('drain', () => stream.resume())
      })
      client.once('close', () => stream.abort(new Error('the client is gone')))
      stream.send(ASK)
    }
  },
}

/** Pings are off: they need a newer Node than ours. */
const muxerOn = (ws: WebSocket, direction: 'inbound' | 'outbound') =>
  yamux({ enableKeepAlive: false })().createStreamMuxer(new WebSocketStream(ws, direction))

class WebSocketStream extends AbstractMessageStream {
  readonly #ws: WebSocket

  constructor(ws: WebSocket, direction: 'inbound' | 'outbound') {
    super({ log: defaultLogger().forComponent('bench'), direction })
    this.#ws = ws
    ws.on('message', (bytes: Buffer) => this.onData(bytes))
    ws.once('close', () => this.onTransportClosed())
  }

  override sendData(data: Parameters<AbstractMessageStream['sendData']>[0]): SendResult {
    this.#ws.send(data.subarray(), () => {
      if (this.writableNeedsDrain && this.#ws.bufferedAmount < QUEUE_BYTES) this.safeDispatchEvent('drain')
    })
    return { sentBytes: data.byteLength, canSendMore: this.#ws.bufferedAmount < QUEUE_BYTES }
  }

  override sendReset(): void {
    this.#ws.terminate()
  }

  override sendPause(): void {
    this.#ws.pause()
  }

  override sendResume(): void {
    this.#ws.resume()
  }

  override async close(): Promise<void> {
    this.#ws.close()
  }
}
