// A yamux session (hashicorp/yamux, spec.md): many streams over one transport.
//
// Receiving: transport -> FrameDecoder -> Incoming -> the stream. Anything that breaks the specification throws a
// TunnelError there, and #fail ends the session with a go-away, never the process.
// Sending: streams and control frames go through the Sender, which asks the transport for room.
// The end: #end runs once, whoever began it. All streams end with TUNNEL_CLOSED and `closed` resolves.

import { AcceptDeadline } from './accept-deadline.ts'
import { Attachment } from './attachment.ts'
import { FrameDecoder } from './decoder.ts'
import { TunnelError } from './errors.ts'
import { Flag, FrameType, GoAwayCode } from './frame.ts'
import { Heartbeat } from './heartbeat.ts'
import { Incoming } from './incoming.ts'
import type { TunnelSettings } from './options.ts'
import { Sender } from './sender.ts'
import type { StreamLink, TunnelStream } from './stream.ts'
import { StreamTable } from './stream-table.ts'
import type { Transport, TransportEnd } from './transport.ts'
import type { CloseReason, Tunnel, TunnelStats } from './types.ts'

export class Session implements Tunnel, StreamLink {
  readonly closed: Promise<CloseReason>
  bytesReceived = 0

  readonly #transport: Transport
  readonly #incoming: Incoming
  readonly #decoder: FrameDecoder
  readonly #heartbeat: Heartbeat
  readonly #sender: Sender
  readonly #streams: StreamTable
  readonly #attachment: Attachment
  readonly #acceptDeadline: AcceptDeadline
  #resets = 0
  #closeReason: CloseReason | undefined
  #transportClosed: Promise<void> | undefined
  #resolveClosed: (reason: CloseReason) => void = () => {}

  constructor(transport: Transport, settings: TunnelSettings) {
    this.#transport = transport
    this.#sender = new Sender(transport)
    this.#heartbeat = new Heartbeat(settings, {
      sendPing: (value) => this.#sendControl(FrameType.ping, Flag.syn, 0, value),
      onSilence: (silentMs) => this.#silent(silentMs),
    })
    this.#streams = new StreamTable(settings, this, this.#heartbeat)
    this.#acceptDeadline = new AcceptDeadline(settings.acceptTimeoutMs, settings.clock)
    this.#incoming = new Incoming({
      settings,
      streams: this.#streams,
      heartbeat: this.#heartbeat,
      acceptDeadline: this.#acceptDeadline,
      sendControl: (...frame) => this.#sendControl(...frame),
      onReset: () => {
        this.#resets += 1
      },
      onFailure: (message) => this.#end({ kind: 'peer', message }, undefined),
    })
    this.#decoder = new FrameDecoder(this.#incoming)
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
    if (this.#incoming.peerSaidGoAway) {
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
    this.#incoming.onStream(handler)
  }

  async ping(): Promise<number> {
    if (this.#closeReason !== undefined) throw closedError(this.#closeReason)
    return this.#heartbeat.ping()
  }

  goAway(): void {
    if (this.#incoming.refusesStreams || this.isClosed) return
    this.#incoming.refusesStreams = true
    this.#sendControl(FrameType.goAway, 0, 0, GoAwayCode.normal)
  }

  get isLeaving(): boolean {
    return this.#incoming.peerSaidGoAway
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

  onAttachment(handler: (isAttached: boolean) => void): () => void {
    return this.#attachment.watch(handler)
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
    this.#incoming.forget(stream)
    this.#acceptDeadline.forget(stream)
    this.#sender.forget(stream)
    if (!reset) return
    this.#resets += 1
    this.#sendControl(FrameType.windowUpdate, Flag.rst, stream.id, 0)
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
