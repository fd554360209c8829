/** What is compared with our tunnel: each carries streams over one WebSocket between a sender and a relay. */
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import type WebSocket from 'ws'

/** Sends bytes; resolves, where it is a promise, when more is welcome. */
export type Write = (bytes: Buffer) => Promise<void> | undefined

/** Sends the file by `write`; resolves after its last byte was handed over. */
export type SendFile = (write: Write) => Promise<void>

export interface Peer {
  /** The dialling end: sends the file on each stream that the other end opens. */
  send(ws: WebSocket, sendFile: SendFile): Promise<void>
  /** The listening end. @returns what gives a client a stream of its own and passes the stream's bytes on to it */
  relay(ws: WebSocket): Promise<(client: Socket) => void>
}

/** Bytes that a WebSocket may have queued before its writer has to wait, the same for all who share it here. */
export const QUEUE_BYTES = 256 * 1024

/** Writes to a WebSocket with back-pressure. */
export function writerOf(ws: WebSocket): Write {
  return (bytes) => {
    if (ws.bufferedAmount < QUEUE_BYTES) {
      ws.send(bytes)
      return undefined
    }
    return new Promise((resolve) => ws.send(bytes, () => resolve()))
  }
}

/** Writes to a socket or stream with back-pressure. Throws when it is closed: whoever sends has to stop. */
export function writerTo(stream: Writable): Write {
  return (bytes) => {
    if (stream.destroyed) throw new Error('the reader is gone')
    return stream.write(bytes) ? undefined : drained(stream)
  }
}

/** Resolves when the stream takes more, or nothing ever again. */
export function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done)
      stream.off('close', done)
      resolve()
    }
    stream.on('drain', done)
    stream.on('close', done)
  })
}

/** Passes a piece on to a client, and reads no more from the WebSocket until the client has taken it. */
export function passOn(bytes: Buffer, client: Socket, ws: WebSocket): void {
  if (client.destroyed || client.write(bytes)) return
  ws.pause()
  void drained(client).then(() => ws.resume())
}

/** A stream's first byte: asks for the file. Some multiplexers tell the other end of a stream only with its first data. */
export const ASK = Buffer.from('?')
