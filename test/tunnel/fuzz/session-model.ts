// What a yamux session must do, written a second time and from outside: from every byte in and out it knows which streams
// exist, who has how much credit, what is refused and what may be said. It shares no code with tunnel/.

import type { TunnelStream } from '../../../tunnel/stream.ts'
import { PATTERN, PATTERN_MASK } from './pattern.ts'
import {
  ACK,
  DATA,
  FIN,
  GO_AWAY,
  PING,
  type ReferenceFrame,
  ReferenceParser,
  RST,
  SYN,
  UINT32,
  WINDOW,
} from './reference.ts'
import { must } from './target.ts'

export interface ModelSettings {
  readonly side: 'client' | 'server'
  readonly initialWindowBytes: number
  readonly maxWindowBytes: number
  readonly windowBudgetBytes: number
  readonly maxIncomingStreams: number
  readonly firstStreamId: number
}

/** What Readable may hold beyond the window (the promise of the design). */
const BEYOND_WINDOW_BYTES = 64 * 1024
/** The session may end a peer that provokes this many answers and reads none. */
export const CONTROL_LIMIT = 10_000

export interface Entry {
  readonly id: number
  readonly isOurs: boolean
  stream: TunnelStream | undefined
  /** Refused, or reset by the peer. */
  isGone: boolean
  peerFin: boolean
  ackByPeer: boolean
  ackBySession: boolean
  sessionFin: boolean
  sessionRst: boolean
  /** What the peer may still send, and the session. */
  peerCredit: number
  sessionCredit: number
  received: number
  readonly unread: Buffer[]
  got: number
  wrote: number
  sent: number
  appEnded: boolean
}

export class SessionModel {
  readonly entries = new Map<number, Entry>()
  /** How the session must have ended by now; undefined while it must not have. */
  end: 'protocol' | 'peer' | 'local' | 'transport' | 'silence' | undefined
  saidGoAway = false
  peerSaidGoAway = false
  nextOwnId: number
  /** Answers that input called for since the session last could send everything. */
  provoked = 0
  readonly input: ReferenceParser
  readonly output: ReferenceParser
  readonly #settings: ModelSettings
  readonly #live = new Set<Entry>()
  #highestPeerId = 0
  #inputEntry: Entry | undefined
  #outputEntry: Entry | undefined
  #pongs: number[] = []
  #lastWordsSaid = false

  constructor(settings: ModelSettings) {
    this.#settings = settings
    this.nextOwnId = settings.firstStreamId
    this.input = new ReferenceParser({
      frame: (frame) => this.#inputFrame(frame),
      payload: (bytes) => this.#inputPayload(bytes),
      end: () => {},
    })
    this.output = new ReferenceParser({
      frame: (frame) => this.#outputFrame(frame),
      payload: (bytes) => this.#outputPayload(bytes),
      end: () => {},
    })
  }

  exists(entry: Entry): boolean {
    return this.end === undefined && !entry.isGone && entry.stream?.destroyed !== true
  }

  count(isOurs?: boolean): number {
    let count = 0
    for (const entry of this.#living()) if (isOurs === undefined || entry.isOurs === isOurs) count += 1
    return count
  }

  /** The app opened a stream. */
  opened(stream: TunnelStream): Entry {
    must(stream.id === this.nextOwnId, () => `opened stream ${stream.id}, expected ${this.nextOwnId}`)
    this.nextOwnId += 2
    return this.#create(stream.id, true, stream)
  }

  /** The app got bytes to read. */
  read(entry: Entry, bytes: Buffer): void {
    entry.got += bytes.length
    let rest = bytes
    while (rest.length > 0) {
      const [head] = entry.unread
      must(head !== undefined, () => `stream ${entry.id} delivered ${rest.length} bytes that were never received`)
      if (head === undefined) return
      const length = Math.min(head.length, rest.length)
      const isSame = head.subarray(0, length).equals(rest.subarray(0, length))
      must(isSame, () => `stream ${entry.id} delivered other bytes than were sent, near ${entry.got}`)
      if (length === head.length) entry.unread.shift()
      else entry.unread[0] = head.subarray(length)
      rest = rest.subarray(length)
    }
  }

  /** Memory: nobody holds more than the windows allow and 64 KiB each. */
  checkHeld(): void {
    const { initialWindowBytes: initial, maxWindowBytes, windowBudgetBytes } = this.#settings
    let total = 0
    let streams = 0
    for (const entry of this.#living()) {
      const held = entry.received - entry.got
      const promised = held + entry.peerCredit
      must(
        promised <= maxWindowBytes + BEYOND_WINDOW_BYTES,
        () =>
          `stream ${entry.id}: ${held} bytes held, ${entry.peerCredit} allowed, the window is at most ${maxWindowBytes}`,
      )
      total += promised
      streams += 1
    }
    const bound = streams * (initial + BEYOND_WINDOW_BYTES) + windowBudgetBytes
    must(total <= bound, () => `${total} bytes are held or allowed on ${streams} streams, the bound is ${bound}`)
  }

  /** Once all callbacks ran and the transport has room, everything that can be said has been said. */
  checkIdle(): void {
    this.provoked = 0
    must(this.#pongs.length === 0, () => `${this.#pongs.length} pings are not answered`)
    for (const entry of this.#living()) {
      const { id, wrote, sent, unread } = entry
      must(entry.isOurs || entry.ackBySession, () => `stream ${id} was not acknowledged`)
      must(
        sent === wrote || entry.sessionCredit === 0,
        () => `stream ${id} sent ${sent} of ${wrote} bytes, and has credit`,
      )
      must(!entry.appEnded || sent < wrote || entry.sessionFin, () => `stream ${id} was ended, but no FIN was sent`)
      // The credit for a frame whose payload is still to come is spent already.
      const isWaiting = entry === this.#inputEntry && !this.input.isBetweenFrames
      const isLow = entry.peerCredit < this.#settings.initialWindowBytes / 2
      const isStuck = isLow && !entry.peerFin && !isWaiting && unread.length === 0
      must(!isStuck, () => `stream ${id}: all was read, and the peer has only ${entry.peerCredit} bytes of credit`)
    }
  }

  /** The streams that exist. What no longer does is not looked at again: a flood leaves thousands behind. */
  #living(): Set<Entry> {
    for (const entry of this.#live) if (!this.exists(entry)) this.#live.delete(entry)
    return this.#live
  }

  // --- what the peer says ---

  #inputFrame(frame: ReferenceFrame): void {
    this.#inputEntry = undefined
    if (this.end !== undefined) return
    if (frame.version !== 0 || frame.type > GO_AWAY) this.end = 'protocol'
    else if (frame.type === PING) this.#inputPing(frame)
    else if (frame.type === GO_AWAY) this.#inputGoAway(frame)
    else if (!this.#inputStreamFrame(frame)) this.end = 'protocol'
  }

  #inputPing({ id, flags, length }: ReferenceFrame): void {
    if (id !== 0) this.end = 'protocol'
    else if (flags & SYN) {
      this.#pongs.push(length)
      this.provoked += 1
    }
  }

  #inputGoAway({ id, length }: ReferenceFrame): void {
    if (id !== 0) this.end = 'protocol'
    else if (length !== 0) this.end = 'peer'
    else this.peerSaidGoAway = true
  }

  /** Applies a data or window-update frame; false when the peer may not send it. */
  #inputStreamFrame(frame: ReferenceFrame): boolean {
    const { id, flags, type, length } = frame
    if (id === 0) return false
    const known = this.entries.get(id)
    const isLive = known !== undefined && this.exists(known)
    if (flags & SYN && (this.#isOwnId(id) || isLive)) return false
    const entry = flags & SYN ? this.#accept(id) : isLive ? known : undefined
    if (entry === undefined) return this.#mayGoToNobody(frame)
    if (flags & ACK) entry.ackByPeer = true
    if (flags & RST) {
      entry.isGone = true
      return true
    }
    if (type === WINDOW) {
      if (entry.sessionCredit + length > UINT32) return false
      entry.sessionCredit += length
    } else {
      if (length > entry.peerCredit || (entry.peerFin && length > 0)) return false
      entry.peerCredit -= length
      this.#inputEntry = entry
    }
    // Of a data frame, FIN counts once its payload is in; nobody can tell before the next frame.
    if (flags & FIN) entry.peerFin = true
    return true
  }

  #mayGoToNobody({ id, type, length }: ReferenceFrame): boolean {
    const wasOpened = this.#isOwnId(id) ? id < this.nextOwnId : id <= this.#highestPeerId
    return wasOpened && (type !== DATA || length <= this.#settings.maxWindowBytes)
  }

  #inputPayload(bytes: Buffer): void {
    const entry = this.#inputEntry
    if (entry === undefined || this.end !== undefined) return
    entry.received += bytes.length
    entry.unread.push(Buffer.from(bytes))
  }

  #accept(id: number): Entry | undefined {
    this.#highestPeerId = Math.max(this.#highestPeerId, id)
    this.provoked += 2
    const isRefused = this.count(false) >= this.#settings.maxIncomingStreams
    const entry = this.#create(id, false, undefined)
    entry.isGone = isRefused || this.saidGoAway
    return entry.isGone ? undefined : entry
  }

  #isOwnId(id: number): boolean {
    return (id & 1) === (this.#settings.side === 'client' ? 1 : 0)
  }

  #create(id: number, isOurs: boolean, stream: TunnelStream | undefined): Entry {
    const credit = this.#settings.initialWindowBytes
    const flags = { isGone: false, peerFin: false, ackByPeer: false, ackBySession: false }
    const said = { sessionFin: false, sessionRst: false, appEnded: false }
    const counts = { peerCredit: credit, sessionCredit: credit, received: 0, got: 0, wrote: 0, sent: 0 }
    const entry: Entry = { id, isOurs, stream, unread: [], ...flags, ...said, ...counts }
    this.entries.set(id, entry)
    this.#live.add(entry)
    return entry
  }

  // --- what the session says ---

  #outputFrame(frame: ReferenceFrame): void {
    this.#outputEntry = undefined
    const { version, type, id, length } = frame
    const what = () => JSON.stringify(frame)
    must(version === 0 && type <= GO_AWAY, () => `the session wrote no yamux frame: ${what()}`)
    must(!this.#lastWordsSaid, () => `the session went on after its last go-away: ${what()}`)
    if (type === GO_AWAY) {
      must(id === 0 && length <= 2, () => `odd go-away ${what()}`)
      this.#lastWordsSaid = length !== 0 || this.end !== undefined
      return
    }
    must(this.end === undefined, () => `the session spoke after its end (${this.end}): ${what()}`)
    if (type === PING) this.#outputPing(frame)
    else this.#outputStreamFrame(frame)
  }

  #outputStreamFrame(frame: ReferenceFrame): void {
    const { type, flags, id, length } = frame
    const what = () => JSON.stringify(frame)
    const entry = this.entries.get(id)
    must(entry !== undefined, () => `a frame for a stream that never was: ${what()}`)
    if (entry === undefined) return
    if (flags & SYN) must(entry.isOurs && type === WINDOW, () => `odd SYN ${what()}`)
    if (flags & ACK) {
      must(!entry.isOurs, () => `odd ACK ${what()}`)
      entry.ackBySession = true
    }
    // A reset that comes before the ACK was meant for an older stream of this id, which the peer used again.
    if (flags & RST) entry.sessionRst = entry.isOurs || entry.ackBySession || entry.isGone
    else if (type === WINDOW) this.#outputCredit(entry, length)
    else this.#outputData(entry, frame)
  }

  #outputPing({ flags, length }: ReferenceFrame): void {
    if (!(flags & ACK)) return
    const expected = this.#pongs.shift()
    must(expected === length, () => `ping ${expected} was answered with ${length}`)
  }

  #outputCredit(entry: Entry, length: number): void {
    if (length === 0) return
    must(!entry.isGone && !entry.sessionRst, () => `credit for stream ${entry.id}, which is over`)
    entry.peerCredit += length
  }

  #outputData(entry: Entry, { flags, length }: ReferenceFrame): void {
    const { id, sessionCredit } = entry
    must(!entry.sessionRst && !entry.sessionFin, () => `data on stream ${id} after its FIN or RST`)
    must(!entry.isGone, () => `data on stream ${id}, which the peer has reset`)
    must(length <= sessionCredit, () => `${length} bytes on stream ${id}, whose peer allows ${sessionCredit}`)
    must(length <= BEYOND_WINDOW_BYTES, () => `a frame of ${length} bytes on stream ${id}`)
    entry.sessionCredit -= length
    if (flags & FIN) {
      must(entry.appEnded && entry.sent + length === entry.wrote, () => `FIN on stream ${id} before its end`)
      entry.sessionFin = true
    } else must(length > 0, () => `an empty frame on stream ${id}`)
    this.#outputEntry = entry
  }

  #outputPayload(bytes: Buffer): void {
    const entry = this.#outputEntry
    if (entry === undefined) return
    const from = entry.sent & PATTERN_MASK
    const isSame = bytes.equals(PATTERN.subarray(from, from + bytes.length))
    must(
      isSame && entry.sent + bytes.length <= entry.wrote,
      () => `stream ${entry.id} sent other bytes than were written`,
    )
    entry.sent += bytes.length
  }
}
