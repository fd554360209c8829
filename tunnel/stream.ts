// One yamux stream as a Node Duplex that behaves like a net.Socket: Node's http server and client, `ws` and `pipeline`
// run on it unchanged. `end()` sends FIN and reading goes on; `destroy()` before both sides ended sends RST.
//
// Receiving: the session calls beginData, receive and endOfData; bytes wait in #received until the reader wants them, and
// only then count as consumed. Sending: a write waits in #toSend until the session's send queue asks for frames.
//
// A peer that ended and then reset (an HTTP server that answered early and closed) or whose tunnel went away must not
// cost the reader what was received completely: such a stream can be read to its end first, see abort().

import { Duplex } from 'node:stream'
import { ByteQueue, withoutPinning } from './byte-queue.ts'
import { protocolError, TunnelError } from './errors.ts'
import { MAX_UINT32 } from './frame.ts'
import { IdleTimer } from './idle-timer.ts'
import type { ReceiveWindow } from './receive-window.ts'
import { type Turn, Turns } from './turns.ts'

/** What Readable holds ahead of its consumer; with one piece more it is the 64 KiB beyond the window. */
const READ_AHEAD_BYTES = 32 * 1024
const MAX_PIECE_BYTES = 32 * 1024
const WRITE_BUFFER_BYTES = 64 * 1024
/** A frame takes such a rest with it: a 64 KiB message with its header would else end in a frame, and a write, of 11 bytes. */
const SHORT_REST_BYTES = 256

/** What a stream needs from its session. */
export interface StreamLink {
  /** The stream has a frame to send, or may have one now. */
  sendLater(stream: TunnelStream): void
  /** The reader consumed half a window: a window update is due. */
  creditLater(stream: TunnelStream): void
  /** The stream is over; `reset` if the peer doesn't know yet. */
  forget(stream: TunnelStream, reset: boolean): void
}

export interface OutgoingFrame {
  readonly payload: readonly Buffer[]
  readonly length: number
  readonly fin: boolean
  /** To be called when the frame is with the transport. */
  readonly done: (() => void) | undefined
}

export interface StreamOptions {
  readonly id: number
  readonly link: StreamLink
  readonly window: ReceiveWindow
  readonly sendWindow: number
  readonly accepted: boolean
  readonly remoteAddress: string | undefined
}

type Done = (error?: Error | null) => void

export class TunnelStream extends Duplex {
  readonly id: number
  /** As on a net.Socket. The address is the one given to createTunnel; a stream has no ports. */
  readonly remoteAddress: string | undefined
  readonly remotePort: number | undefined = undefined
  readonly connecting = false
  bytesRead = 0
  bytesWritten = 0
  timeout: number | undefined

  readonly receiveWindow: ReceiveWindow
  /** Its place among those who want to send. */
  readonly turn: Turn<TunnelStream> = Turns.turnOf<TunnelStream>(this)
  #link: StreamLink | undefined
  #accepted: boolean
  readonly #received = new ByteQueue()
  #readerWants = false
  #remoteEnded = false
  readonly #toSend = new ByteQueue()
  #sendWindow: number
  #writeDone: Done | undefined
  #finDone: Done | undefined
  #finSent = false
  readonly #idle = new IdleTimer(() => this.emit('timeout'))

  constructor(options: StreamOptions) {
    super({ allowHalfOpen: true, readableHighWaterMark: READ_AHEAD_BYTES, writableHighWaterMark: WRITE_BUFFER_BYTES })
    this.id = options.id
    this.remoteAddress = options.remoteAddress
    this.receiveWindow = options.window
    this.#link = options.link
    this.#sendWindow = options.sendWindow
    this.#accepted = options.accepted
    // A peer's reset between two owners of a stream (after an upgrade, say) must never be an uncaught exception.
    this.on('error', () => {})
  }

  // --- as on a net.Socket ---

  setTimeout(ms: number, onTimeout?: () => void): this {
    this.timeout = ms
    if (!this.destroyed) this.#idle.set(ms) // nothing would stop it any more
    if (onTimeout !== undefined) {
      if (ms > 0) this.once('timeout', onTimeout)
      else this.removeListener('timeout', onTimeout)
    }
    return this
  }

  setKeepAlive(): this {
    return this // the tunnel's own pings keep it alive
  }

  setNoDelay(): this {
    return this // nothing is ever delayed
  }

  ref(): this {
    return this // the tunnel's connection decides whether the process stays
  }

  unref(): this {
    return this
  }

  address(): Record<string, never> {
    return {}
  }

  /** Ends, and destroys when everything was handed on (Node's http server calls this after a last response). */
  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => this.destroy())
  }

  // --- what the session calls ---

  /** A data frame of `length` bytes begins. */
  beginData(length: number): void {
    if (this.#remoteEnded && length > 0) throw protocolError(`data on stream ${this.id} after its FIN`)
    this.receiveWindow.reserve(length)
  }

  receive(bytes: Buffer): void {
    if (this.destroyed) return
    this.#idle.touch()
    this.bytesRead += bytes.length
    if (this.#readerWants && this.#received.length === 0 && bytes.length <= MAX_PIECE_BYTES) {
      this.#pass(withoutPinning(bytes))
    } else {
      this.#received.appendCompact(bytes)
      this.#passOn()
    }
  }

  /** The peer's FIN: it sends no more. */
  endOfData(): void {
    if (this.#remoteEnded) return
    this.#remoteEnded = true
    this.#passOn()
  }

  accept(): void {
    this.#accepted = true
  }

  addSendWindow(credit: number): void {
    if (this.#sendWindow + credit > MAX_UINT32) {
      throw protocolError(`window update of ${credit} bytes lifts stream ${this.id}'s window over 4 GiB`)
    }
    this.#sendWindow += credit
    this.#link?.sendLater(this)
  }

  /** The next frame that may be sent now, of `maxPayload` or a little more; undefined if there is none. */
  nextFrame(maxPayload: number): OutgoingFrame | undefined {
    if (this.#link === undefined) return undefined // it was reset, and only waits to be read to its end
    if (this.#toSend.length > 0) return this.#sendWindow > 0 ? this.#dataFrame(maxPayload) : undefined
    const done = this.#finDone
    if (done === undefined) return undefined
    this.#finDone = undefined
    this.#finSent = true
    return { payload: [], length: 0, fin: true, done }
  }

  /** The peer reset this stream. */
  reset(): void {
    const lost = this.#accepted
      ? new TunnelError('ECONNRESET', `stream ${this.id} was reset by the other side of the tunnel`)
      : new TunnelError('TUNNEL_STREAM_REFUSED', `stream ${this.id} was refused by the other side of the tunnel`)
    this.#abort(lost, undefined)
  }

  /** The session ended. */
  tunnelClosed(error: TunnelError): void {
    this.#abort(error, error)
  }

  // --- Duplex ---

  override _read(): void {
    this.#readerWants = true
    this.#passOn()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#toSend.append(chunk)
    this.#sendThen(done)
  }

  override _writev(chunks: { chunk: Buffer; encoding: BufferEncoding }[], done: Done): void {
    for (const { chunk } of chunks) this.#toSend.append(chunk)
    this.#sendThen(done)
  }

  override _final(done: Done): void {
    this.#finDone = done
    this.#link?.sendLater(this)
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#idle.stop()
    const link = this.#link
    this.#link = undefined
    link?.forget(this, !(this.#finSent && this.#remoteEnded))
    this.#received.clear()
    this.#toSend.clear()
    const waiting = this.#writeDone ?? this.#finDone
    this.#writeDone = undefined
    this.#finDone = undefined
    waiting?.(error ?? new TunnelError('ECONNRESET', `stream ${this.id} was destroyed before its data was sent`))
    done(error)
  }

  // --- helpers ---

  #sendThen(done: Done): void {
    if (this.#toSend.length === 0) {
      done() // nothing but empty chunks
    } else {
      this.#writeDone = done
      this.#link?.sendLater(this)
    }
  }

  #dataFrame(maxPayload: number): OutgoingFrame {
    const payload: Buffer[] = []
    const rest = this.#toSend.length - maxPayload
    const max = Math.min(rest <= SHORT_REST_BYTES ? maxPayload + SHORT_REST_BYTES : maxPayload, this.#sendWindow)
    let length = 0
    while (length < max && this.#toSend.length > 0) {
      const piece = this.#toSend.take(max - length)
      payload.push(piece)
      length += piece.length
    }
    this.#sendWindow -= length
    this.bytesWritten += length
    this.#idle.touch()
    if (this.#toSend.length > 0) return { payload, length, fin: false, done: undefined }
    const done = this.#writeDone
    this.#writeDone = undefined
    return { payload, length, fin: false, done }
  }

  #passOn(): void {
    while (this.#readerWants && this.#received.length > 0) this.#pass(this.#received.take(MAX_PIECE_BYTES))
    if (this.#remoteEnded && this.#received.length === 0 && !this.readableEnded && !this.destroyed) this.push(null)
  }

  /** Hands bytes to the reader. They count as consumed, for Readable asks only when there is room for more. */
  #pass(bytes: Buffer): void {
    const creditDue = this.receiveWindow.consume(bytes.length)
    this.#readerWants = false
    if (this.push(bytes)) this.#readerWants = true
    if (creditDue && !this.#remoteEnded) this.#link?.creditLater(this)
  }

  /** Ends the stream with `error`; if everything the peer sent has arrived, after it was read and with `afterReading`. */
  #abort(error: TunnelError, afterReading: TunnelError | undefined): void {
    this.#link?.forget(this, false)
    this.#link = undefined
    const hasReader = this.readableFlowing !== null || this.readableLength + this.#received.length > 0
    if (this.#remoteEnded && !this.readableEnded && hasReader) this.once('end', () => this.destroy(afterReading))
    else this.destroy(error)
  }
}
