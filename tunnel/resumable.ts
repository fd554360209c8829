// A transport that survives the loss of its connection. Both ends count the payload bytes they received, say so now and
// then in text messages, and keep what they sent until the other has it. When the connection is lost, the dialling end
// dials again; each side states its count in the handshake (resume-headers.ts) and gets the rest replayed.
//
//   attached --connection lost--> detached --attach(next carrier, other's count)--> attached ...
//                                    `--resumeWithinMs--> over
//
// The order is what makes it right: detach() first, so that no more byte of the old connection counts, then state
// `received`. The other way round, bytes that arrive in between are replayed as well, and arrive twice.
//
// Counts are input from outside: one that cannot be ends the session with a protocol error, never the process.

import { type Clock, systemClock, type Timer } from './clock.ts'
import { protocolError, type TunnelError } from './errors.ts'
import { Outflow } from './outflow.ts'
import { type ReplayBudget, sharedReplayBudget } from './replay-budget.ts'
import { parseCount } from './resume-headers.ts'
import type { Carrier, Resumption, Transport, TransportEnd, TransportReceiver } from './transport.ts'

/** A connection that was lost must be replaced within this time. */
export const RESUME_WITHIN_MS = 60_000
/** What one tunnel holds for replay. It bounds throughput at this much per round trip: 50 MB/s at 80 ms. */
export const MAX_REPLAY_BYTES = 4 * 1024 * 1024
/** No replay bound may be smaller, or acknowledgements (every ACK_EVERY_BYTES) would come too late to keep bytes moving. */
export const MIN_REPLAY_BYTES = 1024 * 1024
/** Bytes that are received are acknowledged when there are this many, or after ACK_DELAY_MS. */
export const ACK_EVERY_BYTES = 256 * 1024
export const ACK_DELAY_MS = 200

export interface ResumableOptions {
  readonly maxReplayBytes?: number
  readonly budget?: ReplayBudget
  readonly resumeWithinMs?: number
  readonly clock?: Clock
}

export class ResumableTransport implements Transport, Resumption {
  /** Payload bytes that arrived, on all connections together. State it after detach(). */
  received = 0
  resumes = 0
  /** Called once, when the session is over, whoever ended it. */
  onEnd: () => void = () => {}

  readonly #outflow: Outflow
  readonly #resumeWithinMs: number
  readonly #clock: Clock
  #receiver: TransportReceiver | undefined
  #carrier: Carrier | undefined
  #wasAttached = false
  #acknowledged = 0
  #ackTimer: Timer | undefined
  #resumeTimer: Timer | undefined
  #resolveLost: (reason: string) => void = () => {}
  #isOver = false
  #closing: Promise<void> | undefined

  constructor(options: ResumableOptions = {}) {
    const maxReplayBytes = Math.max(MIN_REPLAY_BYTES, options.maxReplayBytes ?? MAX_REPLAY_BYTES)
    const budget = options.budget ?? sharedReplayBudget
    this.#outflow = new Outflow(maxReplayBytes, budget, () => this.#receiver?.onDrain())
    this.#resumeWithinMs = options.resumeWithinMs ?? RESUME_WITHIN_MS
    this.#clock = options.clock ?? systemClock
  }

  // --- connections ---

  /**
   * Goes on over `carrier`, whose other side has everything up to `position`. Call start() before the first one. Resolves
   * with the reason when the carrier is used no more.
   */
  attach(carrier: Carrier, position: number): Promise<string> {
    this.detach('another connection takes its place')
    if (this.#isOver) {
      carrier.detach()
      return Promise.resolve('the session is over')
    }
    if (!this.#outflow.canRewind(position)) {
      carrier.detach()
      this.refuse(position)
      return Promise.resolve('the other side states a position that cannot be')
    }
    this.#resumeTimer?.cancel()
    const lost = new Promise<string>((resolve) => {
      this.#resolveLost = resolve
    })
    this.#outflow.attach(carrier, position)
    this.#carrier = carrier
    this.#acknowledged = this.received // the handshake said so
    if (this.#wasAttached) this.resumes += 1
    this.#wasAttached = true
    const ifPresent = (action: () => void) => {
      if (this.#carrier === carrier) action()
    }
    carrier.start({
      onBytes: (bytes) => ifPresent(() => this.#receive(bytes)),
      onText: (text) => ifPresent(() => this.#acknowledgement(text)),
      onDrain: () => ifPresent(() => this.#outflow.drained()),
      onClose: (end) => ifPresent(() => this.#lose(end)),
    })
    this.#receiver?.onAttach?.()
    this.#outflow.go()
    return lost
  }

  /** Whether the other side can have everything up to here. */
  canResumeFrom(position: number): boolean {
    return !this.#isOver && this.#outflow.canRewind(position)
  }

  /** The other side stated a position that cannot be: the session is over. Returns the error to answer with. */
  refuse(position: number): TunnelError {
    const [from] = this.#outflow.acknowledgeable
    const to = from + this.#outflow.held
    return this.#fail(`it has ${position} bytes, which cannot be: ${from} to ${to} are possible`)
  }

  /** Leaves the present connection, if there is one. Not a byte of it counts from here on. */
  detach(reason: string): void {
    if (this.#carrier !== undefined) this.#lose({ clean: false, message: reason })
  }

  // --- Transport ---

  get resumption(): Resumption {
    return this
  }

  start(receiver: TransportReceiver): void {
    this.#receiver = receiver
    if (this.#carrier === undefined) this.#waitForConnection('it was never connected')
  }

  write(bytes: Buffer): boolean {
    if (this.#isOver) return true // onClose follows
    return this.#outflow.write(bytes)
  }

  close(reason: string): Promise<void> {
    this.#closing ??= this.#close(reason)
    return this.#closing
  }

  destroy(reason: string): void {
    const carrier = this.#carrier
    this.#finish({ clean: false, message: reason })
    carrier?.detach()
  }

  // --- Resumption ---

  get isAttached(): boolean {
    return this.#carrier !== undefined
  }

  get bytesInFlight(): number {
    return this.#outflow.held
  }

  dropConnection(reason: string): void {
    this.detach(reason)
  }

  // --- sending ---

  #acknowledgement(text: string): void {
    const [from, to] = this.#outflow.acknowledgeable
    const position = parseCount(text)
    if (position !== undefined && this.#outflow.acknowledge(position)) this.#receiver?.onLife?.()
    else this.#fail(`it acknowledges "${text}", ${from} to ${to} are possible`)
  }

  // --- receiving ---

  #receive(bytes: Buffer): void {
    this.received += bytes.length
    if (this.received - this.#acknowledged >= ACK_EVERY_BYTES) this.#acknowledge()
    else this.#ackTimer ??= this.#clock.after(ACK_DELAY_MS, () => this.#acknowledge())
    this.#receiver?.onBytes(bytes)
  }

  #acknowledge(): void {
    this.#ackTimer?.cancel()
    this.#ackTimer = undefined
    if (this.#acknowledged === this.received) return
    this.#acknowledged = this.received
    this.#carrier?.writeText(`${this.received}`)
  }

  // --- the end of a connection, and of all ---

  #lose(end: TransportEnd): void {
    const carrier = this.#carrier
    if (carrier === undefined) return
    this.#leaveCarrier()
    carrier.detach()
    if (end.clean) this.#finish(end)
    else {
      this.#waitForConnection(end.message)
      this.#receiver?.onDetach?.(end.message)
    }
    this.#resolveLost(end.message)
  }

  #leaveCarrier(): void {
    this.#carrier = undefined
    this.#outflow.detach()
    this.#ackTimer?.cancel()
    this.#ackTimer = undefined
  }

  #waitForConnection(lostBecause: string): void {
    this.#resumeTimer?.cancel()
    this.#resumeTimer = this.#clock.after(this.#resumeWithinMs, () => {
      const seconds = Math.round(this.#resumeWithinMs / 100) / 10
      this.#finish({ clean: false, message: `${lostBecause}; no connection took its place within ${seconds} s` })
    })
  }

  #fail(what: string): TunnelError {
    const error = protocolError(`the other side says that ${what}`)
    const carrier = this.#carrier
    this.#finish({ clean: false, message: error.message, isProtocolError: true })
    carrier?.detach()
    return error
  }

  async #close(reason: string): Promise<void> {
    const carrier = this.#carrier
    if (carrier !== undefined) this.#outflow.giveAll()
    this.#finish({ clean: false, message: reason })
    await carrier?.close(reason)
  }

  #finish(end: TransportEnd): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#leaveCarrier()
    this.#resumeTimer?.cancel()
    this.#outflow.end()
    const receiver = this.#receiver
    this.#receiver = undefined
    this.onEnd()
    this.#resolveLost(end.message)
    receiver?.onClose(end)
  }
}
