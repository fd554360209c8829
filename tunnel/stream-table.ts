// The streams of a session by id: who may use which id, how many there may be, and which ids were ever in use.
// The dialling side numbers its streams 1, 3, 5 ..., the other 2, 4, 6 ... (spec, "StreamID field").

import { protocolError, TunnelError } from './errors.ts'
import { MAX_UINT32 } from './frame.ts'
import type { TunnelSettings } from './options.ts'
import { ReceiveWindow, type Tuner, WindowBudget } from './receive-window.ts'
import { type StreamLink, TunnelStream } from './stream.ts'

export class StreamTable {
  readonly #settings: TunnelSettings
  readonly #link: StreamLink
  readonly #windowBudget: WindowBudget
  readonly #tuner: Tuner
  readonly #streams = new Map<number, TunnelStream>()
  #outgoing = 0
  #nextOwnId: number
  #highestPeerId = 0

  constructor(settings: TunnelSettings, link: StreamLink, tuner: Tuner) {
    this.#settings = settings
    this.#link = link
    this.#tuner = tuner
    this.#nextOwnId = settings.firstStreamId
    this.#windowBudget = new WindowBudget(settings.windowBudgetBytes)
  }

  get size(): number {
    return this.#streams.size
  }

  get(id: number): TunnelStream | undefined {
    return this.#streams.get(id)
  }

  all(): TunnelStream[] {
    return [...this.#streams.values()]
  }

  /** A stream that this side opens. */
  open(): TunnelStream {
    if (this.#outgoing >= this.#settings.maxOutgoingStreams) {
      const message = `the tunnel has ${this.#outgoing} streams open already; close some first`
      throw new TunnelError('TUNNEL_TOO_MANY_STREAMS', message)
    }
    const id = this.#nextOwnId
    if (id > MAX_UINT32) {
      throw new TunnelError('TUNNEL_STREAM_IDS_EXHAUSTED', 'the tunnel has used up its stream ids; dial a new one')
    }
    this.#nextOwnId += 2
    this.#outgoing += 1
    return this.#create(id, false)
  }

  /** The peer's SYN. Undefined when it has as many streams as it may; throws a protocol error for an id it can't use. */
  accept(id: number): TunnelStream | undefined {
    if (this.#isOurs(id)) throw protocolError(`SYN on stream ${id}, whose parity belongs to this side`)
    if (this.#streams.has(id)) throw protocolError(`SYN on stream ${id}, which exists already`)
    // Not "must be higher": Go's implementation may send the SYNs of streams opened in parallel out of order.
    this.#highestPeerId = Math.max(this.#highestPeerId, id)
    const incoming = this.#streams.size - this.#outgoing
    return incoming < this.#settings.maxIncomingStreams ? this.#create(id, true) : undefined
  }

  /** Whether a stream with this id may have existed. */
  wasOpened(id: number): boolean {
    return this.#isOurs(id) ? id < this.#nextOwnId : id <= this.#highestPeerId
  }

  /** False when it was removed before. */
  remove(stream: TunnelStream): boolean {
    if (!this.#streams.delete(stream.id)) return false
    if (this.#isOurs(stream.id)) this.#outgoing -= 1
    stream.receiveWindow.release()
    return true
  }

  #create(id: number, accepted: boolean): TunnelStream {
    const { initialWindowBytes, maxWindowBytes, remoteAddress } = this.#settings
    const stream = new TunnelStream({
      id,
      accepted,
      remoteAddress,
      link: this.#link,
      window: new ReceiveWindow(initialWindowBytes, maxWindowBytes, this.#windowBudget, this.#tuner),
      sendWindow: initialWindowBytes,
    })
    this.#streams.set(id, stream)
    return stream
  }

  #isOurs(id: number): boolean {
    return (id & 1) === (this.#settings.side === 'client' ? 1 : 0)
  }
}
