// What the frames of the other side mean, by the specification: decoder -> onFrame / onPayload / onFrameEnd -> the stream.
// Anything that breaks the specification throws a TunnelError; the session ends with it.

import type { AcceptDeadline } from './accept-deadline.ts'
import type { FrameSink } from './decoder.ts'
import { protocolError } from './errors.ts'
import { Flag, type FrameHeader, FrameType, GoAwayCode } from './frame.ts'
import type { Heartbeat } from './heartbeat.ts'
import type { TunnelSettings } from './options.ts'
import type { TunnelStream } from './stream.ts'
import type { StreamTable } from './stream-table.ts'

/** The session, as far as incoming frames need it. */
export interface IncomingContext {
  readonly settings: TunnelSettings
  readonly streams: StreamTable
  readonly heartbeat: Heartbeat
  readonly acceptDeadline: AcceptDeadline
  sendControl(type: FrameType, flags: number, streamId: number, length: number): void
  /** The peer reset a stream. */
  onReset(): void
  /** The peer says that the session is over. */
  onFailure(message: string): void
}

export class Incoming implements FrameSink {
  /** No new streams any more: we said go-away. */
  refusesStreams = false
  /** The peer takes no new streams any more. */
  peerSaidGoAway = false
  readonly #context: IncomingContext
  #handler: ((stream: TunnelStream) => void) | undefined
  readonly #waitingForHandler = new Set<TunnelStream>()
  /** The frame being received and its stream; no stream means that its payload is dropped. */
  #frame: FrameHeader | undefined
  #frameStream: TunnelStream | undefined

  constructor(context: IncomingContext) {
    this.#context = context
  }

  /** Sets the one handler for streams that the peer opens. */
  onStream(handler: (stream: TunnelStream) => void): void {
    this.#handler = handler
    const waiting = [...this.#waitingForHandler]
    this.#waitingForHandler.clear()
    for (const stream of waiting) handler(stream)
  }

  /** The stream is over. */
  forget(stream: TunnelStream): void {
    this.#waitingForHandler.delete(stream)
  }

  // --- FrameSink ---

  onFrame(frame: FrameHeader): void {
    this.#frame = frame
    this.#frameStream = undefined
    switch (frame.type) {
      case FrameType.data:
      case FrameType.windowUpdate:
        this.#frameStream = this.#streamFrame(frame)
        break
      case FrameType.ping:
        this.#pingFrame(frame)
        break
      case FrameType.goAway:
        this.#goAwayFrame(frame)
        break
      default:
        frame.type satisfies never
    }
  }

  onPayload(bytes: Buffer): void {
    this.#frameStream?.receive(bytes)
  }

  /** FIN counts once the payload of its frame is in. */
  onFrameEnd(): void {
    if (this.#frame !== undefined && this.#frame.flags & Flag.fin) this.#frameStream?.endOfData()
  }

  // --- helpers ---

  /** A data or window-update frame; returns the stream that gets its payload. */
  #streamFrame(frame: FrameHeader): TunnelStream | undefined {
    const { streamId, flags, length, type } = frame
    if (streamId === 0) throw protocolError('data or window update on stream 0, which is the session itself')
    const stream = flags & Flag.syn ? this.#synFrame(frame) : this.#context.streams.get(streamId)
    if (stream === undefined) return this.#ignoreFrame(frame)
    this.#context.acceptDeadline.forget(stream)

    if (flags & Flag.ack) stream.accept()
    if (flags & Flag.rst) {
      this.#context.onReset()
      stream.reset()
      return undefined
    }
    if (type === FrameType.data) stream.beginData(length)
    else stream.addSendWindow(length)
    return stream
  }

  #synFrame({ streamId }: FrameHeader): TunnelStream | undefined {
    const stream = this.#context.streams.accept(streamId)
    if (stream === undefined) {
      this.#context.sendControl(FrameType.windowUpdate, Flag.rst, streamId, 0)
      return undefined
    }
    if (this.refusesStreams) {
      stream.destroy() // which sends RST
      return undefined
    }
    this.#context.sendControl(FrameType.windowUpdate, Flag.ack, streamId, 0)
    this.#announce(stream)
    return stream
  }

  /** Frames for a stream that is over are normal (it was reset while they travelled); for one that never was they are not. */
  #ignoreFrame({ streamId, type, length }: FrameHeader): undefined {
    const { streams, settings } = this.#context
    if (!streams.wasOpened(streamId)) throw protocolError(`frame for stream ${streamId}, which was never opened`)
    if (type === FrameType.data && length > settings.maxWindowBytes) {
      throw protocolError(`data frame of ${length} bytes is beyond any window given (stream ${streamId})`)
    }
  }

  #pingFrame({ flags, length, streamId }: FrameHeader): void {
    if (streamId !== 0) throw protocolError(`ping on stream ${streamId}, it belongs on stream 0`)
    if (flags & Flag.syn) this.#context.sendControl(FrameType.ping, Flag.ack, 0, length)
    else if (flags & Flag.ack) this.#context.heartbeat.answered(length)
  }

  #goAwayFrame({ length, streamId }: FrameHeader): void {
    if (streamId !== 0) throw protocolError(`go-away on stream ${streamId}, it belongs on stream 0`)
    if (length === GoAwayCode.normal) {
      this.peerSaidGoAway = true
      return
    }
    const why = length === GoAwayCode.protocolError ? 'a protocol error' : `error code ${length}`
    this.#context.onFailure(`the other side ended the tunnel because of ${why}`)
  }

  /** Handlers run outside the decoder, so that their exceptions are their own. */
  #announce(stream: TunnelStream): void {
    queueMicrotask(() => {
      if (stream.destroyed) return
      if (this.#handler === undefined) this.#waitingForHandler.add(stream)
      else this.#handler(stream)
    })
  }
}
