// One session with the fuzzer on its three sides: the peer that sends it bytes, the transport that has room or not, and
// the app that uses its streams. After every step the session is compared with the model.

import type { TunnelStream } from '../../../tunnel/stream.ts'
import { type CloseReason, createTunnel, type Tunnel } from '../../../tunnel/tunnel.ts'
import { type Features, hashText } from './features.ts'
import { MemoryTransport } from './memory-transport.ts'
import { patternAt } from './pattern.ts'
import { CONTROL_LIMIT, type Entry, type ModelSettings, SessionModel } from './session-model.ts'
import { Finding, must } from './target.ts'
import type { VirtualTime } from './virtual-time.ts'

export interface Handle {
  readonly entry: Entry
  readonly stream: TunnelStream
  /** Done once when data arrives, in the middle of the session's work. */
  reaction: (() => void) | undefined
}

export type WorldSettings = ModelSettings & { readonly maxOutgoingStreams: number; readonly takesStreams: boolean }

const STREAM_ERRORS = ['TUNNEL_CLOSED', 'ECONNRESET', 'TUNNEL_STREAM_REFUSED']
/** Small pieces in one delivery: more of them cost time and show nothing new. */
const MAX_CUTS = 40
const DEAD_AFTER_MS = 15_000
/** An app that respects back-pressure has no more than this waiting. */
const MAX_UNSENT_BYTES = 256 * 1024

export class SessionWorld {
  readonly tunnel: Tunnel
  readonly model: SessionModel
  readonly transport: MemoryTransport
  readonly handles: Handle[] = []
  readonly time: VirtualTime
  readonly settings: WorldSettings
  nextPeerId: number
  /** Bytes that the peer holds back to send them in one piece. */
  held: Buffer[] | undefined
  cutBytes = 0
  #reason: CloseReason | undefined
  #lastInputAt = 0
  #pingsAsked = 0
  #pingsSettled = 0
  readonly #features: Features

  constructor(settings: WorldSettings, time: VirtualTime, features: Features) {
    this.settings = settings
    this.time = time
    this.#features = features
    this.nextPeerId = settings.side === 'client' ? 2 : 1
    this.model = new SessionModel(settings)
    this.transport = new MemoryTransport((bytes, wasFull) => this.#written(bytes, wasFull))
    const { takesStreams, ...options } = settings
    this.tunnel = createTunnel(this.transport, options)
    this.tunnel.closed.then((reason) => {
      this.#reason = reason
    })
    if (takesStreams) this.takeStreams()
  }

  // --- the app ---

  takeStreams(): void {
    this.tunnel.onStream((stream) => {
      const entry = this.model.entries.get(stream.id)
      must(entry !== undefined && entry.stream === undefined, () => `stream ${stream.id} was announced out of the blue`)
      if (entry !== undefined) this.#hold(entry, stream)
    })
  }

  open(): void {
    let stream: TunnelStream
    try {
      stream = this.tunnel.open()
    } catch (error) {
      this.#checkRefusedOpen(error instanceof Error && 'code' in error ? String(error.code) : String(error))
      return
    }
    this.model.provoked += 1
    const entry = this.model.opened(stream)
    this.#hold(entry, stream)
  }

  write({ entry, stream }: Handle, length: number): void {
    if (!stream.writable || entry.appEnded || stream.writableLength > MAX_UNSENT_BYTES) return
    const bytes = patternAt(entry.wrote, length)
    entry.wrote += bytes.length
    stream.write(bytes)
  }

  endWriting({ entry, stream }: Handle): void {
    if (!stream.writable) return
    entry.appEnded = true
    stream.end()
  }

  destroy({ entry, stream }: Handle, when: 'now' | 'soon'): void {
    if (when === 'now') stream.destroy()
    else {
      if (stream.writable) entry.appEnded = true
      stream.destroySoon()
    }
  }

  ping(): void {
    this.#pingsAsked += 1
    this.model.provoked += 1
    const settled = () => {
      this.#pingsSettled += 1
    }
    this.tunnel.ping().then(settled, settled)
  }

  goAway(): void {
    this.tunnel.goAway()
    if (this.model.end === undefined) this.model.saidGoAway = true
  }

  close(): void {
    this.model.end ??= 'local'
    void this.tunnel.close('the fuzzer closes')
  }

  // --- the peer ---

  /** Sends `bytes`, or keeps them while the peer holds back. */
  send(bytes: Buffer): void {
    if (this.held !== undefined) this.held.push(bytes)
    else this.#deliver(bytes)
  }

  sendHeld(): void {
    const held = this.held
    this.held = undefined
    if (held !== undefined) this.#deliver(Buffer.concat(held))
  }

  endTransport(clean: boolean): void {
    this.model.end ??= clean ? 'peer' : 'transport'
    this.transport.end(clean)
  }

  advance(ms: number): void {
    this.time.advance(ms)
    if (this.tunnel.isClosed && this.model.end === undefined) {
      const silentMs = this.time.now - this.#lastInputAt
      must(silentMs >= DEAD_AFTER_MS - 2, () => `the session ended after ${silentMs} ms of silence`)
      this.model.end = 'silence'
    }
  }

  // --- judging ---

  /** After each step: the session is where the model is. */
  check(): void {
    const { tunnel, model } = this
    if (tunnel.isClosed && model.end === undefined && model.provoked >= CONTROL_LIMIT) model.end = 'protocol'
    must(tunnel.isClosed === (model.end !== undefined), () => {
      const [got, expected] = [tunnel.isClosed ? 'ended' : 'goes on', model.end ?? 'going on']
      return `the session ${got}, expected ${expected}`
    })
    const expected = model.count()
    must(tunnel.streams === expected, () => `the session has ${tunnel.streams} streams, expected ${expected}`)
  }

  /** Lets every callback run that waits for its turn. */
  async settle(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    this.check()
    this.model.checkHeld()
    if (!this.transport.isFull && this.model.end === undefined) this.model.checkIdle()
  }

  /** Ends whatever goes on and looks for what is left. Returns how the session ended. */
  async finish(): Promise<string> {
    for (const handle of this.handles) handle.reaction = undefined
    this.sendHeld()
    await this.settle()
    this.close()
    this.check()
    const received = this.tunnel.bytesReceived
    const sent = this.tunnel.bytesSent
    // A frame that would be valid, one that would not, and a drain: all of them into the void.
    this.transport.receiver?.onBytes(Buffer.from('000200010000000000000007ffff', 'hex'))
    this.transport.isFull = true
    this.transport.drain()
    for (const { stream } of this.handles) stream.resume()
    await this.settle()
    await this.settle()
    must(this.transport.isClosed, () => 'the transport was not closed')
    must(this.tunnel.bytesReceived === received, () => 'bytes were received after the end')
    must(this.tunnel.bytesSent === sent, () => 'bytes were sent after the end')
    must(this.tunnel.streams === 0, () => `${this.tunnel.streams} streams are left`)
    for (const { stream } of this.handles)
      must(stream.destroyed && stream.closed, () => `stream ${stream.id} is not destroyed after the end`)
    must(this.time.pending === 0, () => `${this.time.pending} timers are left`)
    must(this.#pingsSettled === this.#pingsAsked, () => 'a ping was never settled')
    return this.#judgeReason()
  }

  #judgeReason(): string {
    const reason = this.#reason
    if (reason === undefined) throw new Finding('closed did not resolve')
    // Who sends that much in one message may be cut off before the rest of it counts.
    const isFlood = this.model.provoked >= CONTROL_LIMIT && /control frames wait/.test(reason.message)
    must(
      isFlood || reason.kind === this.model.end,
      () => `ended as ${JSON.stringify(reason)}, expected ${this.model.end}`,
    )
    this.#features.add(900, hashText(reason.message.replace(/\d+/g, 'n')))
    return `${reason.kind}-${reason.message}`
  }

  // --- helpers ---

  #checkRefusedOpen(code: string): void {
    const { model, settings } = this
    const isRight =
      (code === 'TUNNEL_CLOSED' && model.end !== undefined) ||
      (code === 'TUNNEL_GOING_AWAY' && model.peerSaidGoAway) ||
      (code === 'TUNNEL_TOO_MANY_STREAMS' && model.count(true) >= settings.maxOutgoingStreams) ||
      (code === 'TUNNEL_STREAM_IDS_EXHAUSTED' && model.nextOwnId > 0xffff_ffff)
    must(isRight, () => `open() threw ${code}`)
  }

  #hold(entry: Entry, stream: TunnelStream): void {
    entry.stream = stream
    const handle: Handle = { entry, stream, reaction: undefined }
    this.handles.push(handle)
    stream.on('error', (error: NodeJS.ErrnoException) => {
      this.#features.add(800, hashText(error.code ?? ''))
      must(STREAM_ERRORS.includes(error.code ?? ''), () => `stream ${stream.id} failed with ${error.message}`)
      const isRefusal = error.code === 'TUNNEL_STREAM_REFUSED'
      must(!isRefusal || (entry.isOurs && !entry.ackByPeer), () => `stream ${stream.id} was refused after its ACK`)
    })
    stream.on('data', (bytes: Buffer) => {
      this.model.read(entry, bytes)
      const { reaction } = handle
      handle.reaction = undefined
      reaction?.()
    })
    stream.on('end', () => must(entry.peerFin, () => `stream ${stream.id} ended, but its peer did not`))
    stream.pause()
  }

  #deliver(bytes: Buffer): void {
    const isArmed = this.handles.some(({ reaction }) => reaction !== undefined)
    let cuts = this.cutBytes > 0 ? MAX_CUTS : 0
    for (let at = 0; at < bytes.length; cuts -= 1) {
      let length = cuts > 0 ? this.cutBytes : bytes.length
      // What the app does in the middle of a frame changes what the next one means.
      if (isArmed) length = Math.min(length, this.model.input.bytesToBoundary)
      const chunk = bytes.subarray(at, at + length)
      if (this.model.end === undefined) this.#lastInputAt = this.time.now
      this.model.input.feed(chunk)
      this.transport.receiver?.onBytes(chunk)
      this.check()
      at += length
    }
  }

  #written(bytes: Buffer, wasFull: boolean): void {
    const isGoAway = bytes.length === 12 && bytes[1] === 3
    must(!wasFull || isGoAway, () => 'the session wrote although the transport is full')
    this.model.output.feed(bytes)
    must(this.model.output.isBetweenFrames, () => 'the session wrote half a frame')
  }
}
