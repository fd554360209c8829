// A yamux session (hashicorp/yamux, spec.md): many streams over one transport.
//
// Receiving: transport -> FrameDecoder -> onFrame / onPayload / onFrameEnd -> the stream. Anything that breaks the
// specification throws a TunnelError there, and #fail ends the session with a go-away, never the process.
// Sending: streams and control frames go through the Sender, which asks the transport for room.
// The end: #end runs once, whoever began it. All streams end with TUNNEL_CLOSED and `closed` resolves.

import { AcceptDeadline } from './accept-deadline.ts'
import { Attachment } from './attachment.ts'
import { FrameDecoder, type FrameSink } from './decoder.ts'
import { protocolError, TunnelError } from './errors.ts'
import { Flag, type FrameHeader, FrameType, GoAwayCode } from './frame.ts'
import { Heartbeat } from './heartbeat.ts'
import type { TunnelSettings } from './options.ts'
import { Sender } from './sender.ts'
import type { StreamLink, TunnelStream } from './stream.ts'
import { StreamTable } from './stream-table.ts'
import type { Transport, TransportEnd } from './transport.ts'
import type { CloseReason, Tunnel, TunnelStats } from './types.ts'

export class Session implements Tunnel, FrameSink, StreamLink {
  readonly closed: Promise<CloseReason>
  bytesReceived = 0

  readonly #transport: Transport
  readonly #settings: TunnelSettings
  readonly #decoder = new FrameDecoder(this)
  readonly #heartbeat: Heartbeat
  readonly #sender: Sender
  readonly #streams: StreamTable
  readonly #attachment: Attachment
  readonly #acceptDeadline: AcceptDeadline
  #resets = 0
  #handler: ((stream: TunnelStream) => void) | undefined
  readonly #waitingForHandler = new Set<TunnelStream>()
  /** The frame being received and its stream; no stream means that its payload is dropped. */
  #frame: FrameHeader | undefined
  #frameStream: TunnelStream | undefined
  #weSaidGoAway = false
  #peerSaidGoAway = false
  #closeReason: CloseReason | undefined
  #transportClosed: Promise<void> | undefined
  #resolveClosed: (reason: CloseReason) => void = () => {}

  constructor(transport: Transport, settings: TunnelSettings) {
    this.#transport = transport
    this.#settings = settings
    this.#sender = new Sender(transport)
    this.#heartbeat = new Heartbeat(settings, {
      sendPing: (value) => this.#sendControl(FrameType.ping, Flag.syn, 0, value),
      onSilence: (silentMs) => this.#silent(silentMs),
    })
    this.#streams = new StreamTable(settings, this, this.#heartbeat)
    this.#acceptDeadline = new AcceptDeadline(settings.acceptTimeoutMs, settings.clock)
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve
    })
    this.#attachment = new Attachment(transport.resumption?.isAttached ?? true, settings.clock)
    transport.start({
      onBytes: (bytes) => this.#receive(bytes),
      onDrain: () => this.#sender.drained(),
      onClose: (end) => this.#transportEnded(end),
      onAttach: () => this.#attached(),
      onDetach: () => this.#detached(),
      onLife: () => this.#heartbeat.touch(),
    })
    if (this.isAttached) this.#heartbeat.begin()
  }

  // --- Tunnel ---

  open(): TunnelStream {
    if (this.#closeReason !== undefined) throw closedError(this.#closeReason)
    if (this.#peerSaidGoAway) {
      throw new TunnelError(
        'TUNNEL_GOING_AWAY',
        'the other side of the tunnel accepts no new streams; wait for its next',
      )
    }
    const stream = this.#streams.open()
    this.#acceptDeadline.opened(stream)
    this.#sendControl(FrameType.windowUpdate, Flag.syn, stream.id, 0)
    return stream
  }

  onStream(handler: (stream: TunnelStream) => void): void {
    this.#handler = handler
    const waiting = [...this.#waitingForHandler]
    this.#waitingForHandler.clear()
    for (const stream of waiting) handler(stream)
  }

  async ping(): Promise<number> {
    if (this.#closeReason !== undefined) throw closedError(this.#closeReason)
    return this.#heartbeat.ping()
  }

  goAway(): void {
    if (this.#weSaidGoAway || this.isClosed) return
    this.#weSaidGoAway = true
    this.#sendControl(FrameType.goAway, 0, 0, GoAwayCode.normal)
  }

  async close(reason: string): Promise<void> {
    this.#end({ kind: 'local', message: reason }, GoAwayCode.normal)
    await this.#transportClosed
  }

  get isAttached(): boolean {
    return this.#attachment.isAttached
  }

  whenAttached(ms: number, signal?: AbortSignal): Promise<boolean> {
    return this.#attachment.wait(ms, signal)
  }

  onAttachment(handler: (isAttached: boolean) => void): void {
    this.#attachment.handler = handler
  }

  stats(): TunnelStats {
    const { bytesSent, bytesReceived, streams, isAttached } = this
    const { bytesInFlight = 0, resumes = 0 } = this.#transport.resumption ?? {}
    const rttMs = this.#heartbeat.smoothedMs
    return { rttMs, bytesSent, bytesReceived, bytesInFlight, streams, resumes, resets: this.#resets, isAttached }
  }

  get isClosed(): boolean {
    return this.#closeReason !== undefined
  }

  get bytesSent(): number {
    return this.#sender.bytesSent
  }

  get streams(): number {
    return this.#streams.size
  }

  // --- StreamLink ---

  sendLater(stream: TunnelStream): void {
    this.#sender.stream(stream)
  }

  creditLater(stream: TunnelStream): void {
    this.#sender.credit(stream)
  }

  forget(stream: TunnelStream, reset: boolean): void {
    if (!this.#streams.remove(stream)) return
    this.#waitingForHandler.delete(stream)
    this.#acceptDeadline.forget(stream)
    this.#sender.forget(stream)
    if (!reset) return
    this.#resets += 1
    this.#sendControl(FrameType.windowUpdate, Flag.rst, stream.id, 0)
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

  // --- receiving ---

  #receive(bytes: Buffer): void {
    if (this.isClosed) return
    this.bytesReceived += bytes.length
    this.#heartbeat.touch()
    try {
      this.#decoder.decode(bytes)
    } catch (error) {
      this.#fail(error)
    }
  }

  /** A data or window-update frame; returns the stream that gets its payload. */
  #streamFrame(frame: FrameHeader): TunnelStream | undefined {
    const { streamId, flags, length, type } = frame
    if (streamId === 0) throw protocolError('data or window update on stream 0, which is the session itself')
    const stream = flags & Flag.syn ? this.#synFrame(frame) : this.#streams.get(streamId)
    if (stream === undefined) return this.#ignoreFrame(frame)
    this.#acceptDeadline.forget(stream)

    if (flags & Flag.ack) stream.accept()
    if (flags & Flag.rst) {
      this.#resets += 1
      stream.reset()
      return undefined
    }
    if (type === FrameType.data) stream.beginData(length)
    else stream.addSendWindow(length)
    return stream
  }

  #synFrame({ streamId }: FrameHeader): TunnelStream | undefined {
    const stream = this.#streams.accept(streamId)
    if (stream === undefined) {
      this.#sendControl(FrameType.windowUpdate, Flag.rst, streamId, 0)
      return undefined
    }
    if (this.#weSaidGoAway) {
      stream.destroy() // which sends RST
      return undefined
    }
    this.#sendControl(FrameType.windowUpdate, Flag.ack, streamId, 0)
    this.#announce(stream)
    return stream
  }

  /** Frames for a stream that is over are normal (it was reset while they travelled); for one that never was they are not. */
  #ignoreFrame({ streamId, type, length }: FrameHeader): undefined {
    if (!this.#streams.wasOpened(streamId)) throw protocolError(`frame for stream ${streamId}, which was never opened`)
    if (type === FrameType.data && length > this.#settings.maxWindowBytes) {
      throw protocolError(`data frame of ${length} bytes is beyond any window given (stream ${streamId})`)
    }
  }

  #pingFrame({ flags, length, streamId }: FrameHeader): void {
    if (streamId !== 0) throw protocolError(`ping on stream ${streamId}, it belongs on stream 0`)
    if (flags & Flag.syn) this.#sendControl(FrameType.ping, Flag.ack, 0, length)
    else if (flags & Flag.ack) this.#heartbeat.answered(length)
  }

  #goAwayFrame({ length, streamId }: FrameHeader): void {
    if (streamId !== 0) throw protocolError(`go-away on stream ${streamId}, it belongs on stream 0`)
    if (length === GoAwayCode.normal) {
      this.#peerSaidGoAway = true
      return
    }
    const why = length === GoAwayCode.protocolError ? 'a protocol error' : `error code ${length}`
    this.#end({ kind: 'peer', message: `the other side ended the tunnel because of ${why}` }, undefined)
  }

  /** Handlers run outside the decoder, so that their exceptions are their own. */
  #announce(stream: TunnelStream): void {
    queueMicrotask(() => {
      if (stream.destroyed) return
      if (this.#handler === undefined) this.#waitingForHandler.add(stream)
      else this.#handler(stream)
    })
  }

  // --- sending ---

  #sendControl(type: FrameType, flags: number, streamId: number, length: number): void {
    if (this.isClosed) return
    try {
      this.#sender.control({ type, flags, streamId, length })
    } catch (error) {
      this.#fail(error)
    }
  }

  // --- the connection below ---

  #attached(): void {
    this.#acceptDeadline.restart()
    this.#attachment.set(true)
    this.#heartbeat.begin()
  }

  #detached(): void {
    this.#heartbeat.pause()
    this.#attachment.set(false)
  }

  #silent(silentMs: number): void {
    const message = `the other side of the tunnel was silent for ${Math.round(silentMs / 100) / 10} s`
    const { resumption } = this.#transport
    if (resumption === undefined) this.#end({ kind: 'silence', message }, undefined)
    else resumption.dropConnection(message)
  }

  // --- the end ---

  #transportEnded(end: TransportEnd): void {
    if (end.isProtocolError) {
      this.#end({ kind: 'protocol', message: end.message }, undefined)
      return
    }
    const message = end.clean
      ? `the other side closed the tunnel: ${end.message}`
      : `the tunnel's connection broke: ${end.message}`
    this.#end({ kind: end.clean ? 'peer' : 'transport', message }, undefined)
  }

  /** Something threw while bytes were handled: the peer's fault, or a bug of ours, which must also be heard. */
  #fail(error: unknown): void {
    if (error instanceof TunnelError && error.code === 'TUNNEL_PROTOCOL_ERROR') {
      this.#end({ kind: 'protocol', message: error.message }, GoAwayCode.protocolError)
    } else {
      this.#end({ kind: 'internal', message: `a handler threw: ${String(error)}` }, GoAwayCode.internalError)
      throw error
    }
  }

  #end(reason: CloseReason, goAwayCode: number | undefined): void {
    if (this.#closeReason !== undefined) return
    this.#closeReason = reason
    const goAway = { type: FrameType.goAway, flags: 0, streamId: 0 }
    this.#sender.stop(goAwayCode === undefined ? undefined : { ...goAway, length: goAwayCode })
    this.#decoder.stop()
    this.#attachment.end()
    this.#acceptDeadline.stop()
    const error = closedError(reason)
    this.#heartbeat.end(error)
    for (const stream of this.#streams.all()) stream.tunnelClosed(error)
    if (reason.kind === 'silence') this.#transport.destroy(reason.message)
    this.#transportClosed = this.#transport.close(reason.message)
    this.#resolveClosed(reason)
  }
}

function closedError(reason: CloseReason): TunnelError {
  return new TunnelError('TUNNEL_CLOSED', `the tunnel is closed: ${reason.message}`)
}
