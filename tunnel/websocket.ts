// A WebSocket (`ws`) as a transport of its own, or as the carrier of a resumable one. Binary messages are the bytes, cut
// anywhere. Text messages are acknowledgements, which only a carrier has; a plain transport closes on one.
//
//   gateway: wss = new WebSocketServer({ noServer: true, ...WEBSOCKET_LIMITS })
//            wss.handleUpgrade(request, socket, head, (ws) => createTunnel(webSocketTransport(ws), ...))
//   agent:   connectWebSocket() in connect.ts
//
// Authenticate before handleUpgrade: nothing may wait between the 101 and webSocketCarrier(), or messages are lost.

import WebSocket, { type RawData } from 'ws'
import {
  type Carrier,
  type CarrierReceiver,
  CLOSE_TIMEOUT_MS,
  MAX_TEXT_BYTES,
  type Transport,
  type TransportEnd,
} from './transport.ts'

/** Write no more above this: what is queued in the socket delays whatever comes after it. */
const SEND_QUEUE_FULL_BYTES = 128 * 1024
const SEND_QUEUE_DRAINED_BYTES = 64 * 1024
/** Our own writes are about 64 KiB; a peer's may be bigger, but not without end. */
const MAX_MESSAGE_BYTES = 1024 * 1024
/** A close frame holds at most this much reason (RFC 6455, 5.5: 125 bytes with the code). */
const MAX_REASON_BYTES = 123
const UNSUPPORTED_DATA = 1003

/** For both ends' `ws` options. Compression costs more than it saves on a fast path, and leaks lengths. */
export const WEBSOCKET_LIMITS = { perMessageDeflate: false, maxPayload: MAX_MESSAGE_BYTES } as const

/** Without acknowledgements: the tunnel ends with the WebSocket. */
export function webSocketTransport(ws: WebSocket): Transport {
  return plainTransport(webSocketCarrier(ws))
}

export function plainTransport(carrier: WebSocketCarrier): Transport {
  return {
    start(receiver) {
      carrier.start({
        onBytes: (bytes) => receiver.onBytes(bytes),
        onDrain: () => receiver.onDrain(),
        onClose: (end) => receiver.onClose(end),
        onText: () => carrier.reject('the other side sent a text message, this tunnel carries binary ones'),
      })
    },
    write: (bytes) => carrier.write(bytes),
    close: (reason) => carrier.close(reason),
    destroy: () => carrier.terminate(),
  }
}

export interface WebSocketCarrier extends Carrier {
  /** Closes because of what the other side sent. */
  reject(why: string): void
  /** Drops the connection; its end is delivered. */
  terminate(): void
}

export function webSocketCarrier(ws: WebSocket): WebSocketCarrier {
  let receiver: CarrierReceiver | undefined
  let isFull = false
  let failure: Error | undefined
  let end: TransportEnd | undefined
  const closed = new Promise<void>((resolve) => ws.once('close', () => resolve()))

  ws.binaryType = 'nodebuffer'
  ws.pause() // until start(): what arrives before has no receiver
  ws.on('message', (data, isBinary) => {
    const bytes = toBuffer(data)
    if (isBinary) receiver?.onBytes(bytes)
    else if (bytes.length <= MAX_TEXT_BYTES) receiver?.onText(bytes.toString('latin1'))
    else reject(`the other side sent a text message of ${bytes.length} bytes`)
  })
  ws.on('error', (error) => {
    failure ??= error
  })
  ws.on('close', (code, reason) => {
    end ??= { clean: failure === undefined && code === 1000, message: closeMessage(code, reason, failure) }
    reportEnd()
  })

  return {
    start(to) {
      receiver = to
      ws.resume()
      if (ws.readyState === WebSocket.CLOSED) queueMicrotask(reportEnd)
    },
    write(bytes) {
      if (ws.readyState !== WebSocket.OPEN) return true // the close event follows
      ws.send(bytes, BINARY, sent)
      isFull = ws.bufferedAmount > SEND_QUEUE_FULL_BYTES
      return !isFull
    },
    writeText(text) {
      if (ws.readyState === WebSocket.OPEN) ws.send(text)
    },
    get queuedBytes() {
      return ws.bufferedAmount
    },
    async close(reason) {
      const timer = setTimeout(() => ws.terminate(), CLOSE_TIMEOUT_MS)
      ws.resume() // the answer to our close must be read, started or not
      ws.close(1000, truncateUtf8(reason, MAX_REASON_BYTES))
      if (ws.readyState !== WebSocket.CLOSED) await closed
      clearTimeout(timer)
    },
    detach() {
      receiver = undefined
      ws.terminate()
    },
    reject,
    terminate: () => ws.terminate(),
  }

  function sent(): void {
    if (!isFull || ws.bufferedAmount > SEND_QUEUE_DRAINED_BYTES) return
    isFull = false
    receiver?.onDrain()
  }

  function reject(why: string): void {
    failure ??= new Error(why)
    ws.close(UNSUPPORTED_DATA, 'tunnels carry binary messages')
  }

  function reportEnd(): void {
    const to = receiver
    receiver = undefined
    to?.onClose(end ?? { clean: false, message: 'the WebSocket was closed before it was used' })
  }
}

const BINARY = { binary: true } as const

function toBuffer(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data)
}

function closeMessage(code: number, reason: Buffer, failure: Error | undefined): string {
  if (failure !== undefined) return failure.message
  const text = reason.toString('utf8')
  if (code === 1000) return text === '' ? 'no reason given' : text
  return `WebSocket closed with code ${code}${text === '' ? '' : ` (${text})`}`
}

function truncateUtf8(text: string, maxBytes: number): string {
  let cut = text
  while (Buffer.byteLength(cut) > maxBytes) cut = cut.slice(0, -1)
  return cut
}
