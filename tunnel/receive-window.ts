// Flow control of what a stream receives. The peer may send as much as it has credit for; credit is given back only when
// the reader has taken bytes, never on receipt, so that a reader that stops holds at most the window.
//
// A window starts at the initial size, which both sides assume. It grows, at most to the double at once, to twice what the
// stream carries in a round trip: less would hold the stream back. So it comes to a few MiB on a long way and stays small
// on loopback, where more would only fill queues and delay everybody. What it has grown by comes out of a budget that all
// streams of the tunnel share, so that many slow readers can't hold much together.

import { protocolError } from './errors.ts'

export class WindowBudget {
  #left: number

  constructor(bytes: number) {
    this.#left = bytes
  }

  /** Takes up to `bytes`; returns how many it got. */
  take(bytes: number): number {
    const got = Math.min(bytes, this.#left)
    this.#left -= got
    return got
  }

  giveBack(bytes: number): void {
    this.#left += bytes
  }

  get left(): number {
    return this.#left
  }
}

/** What a window is tuned by. */
export interface Tuner {
  now(): number
  /** The round trip without queues, in ms; undefined while it is not known yet: to ask for it is to have it measured. */
  roundTripMs(): number | undefined
}

export class ReceiveWindow {
  readonly #initial: number
  readonly #max: number
  readonly #budget: WindowBudget
  readonly #tuner: Tuner
  /** What the peer may have sent and we have not consumed, at most. */
  #size: number
  /** What the peer may still send. */
  #open: number
  /** Received and not yet taken by the reader. */
  #held = 0
  /** What was consumed since then: the stream's rate. */
  #consumed = 0
  #consumedSince: number

  constructor(initial: number, max: number, budget: WindowBudget, tuner: Tuner) {
    this.#initial = initial
    this.#max = max
    this.#budget = budget
    this.#tuner = tuner
    this.#consumedSince = tuner.now()
    this.#size = initial
    this.#open = initial
  }

  get size(): number {
    return this.#size
  }

  /** A data frame of `bytes` begins; throws a protocol error when the peer had no credit for it. */
  reserve(bytes: number): void {
    if (bytes > this.#open) {
      throw protocolError(`data frame of ${bytes} bytes is beyond the receive window of ${this.#open} bytes`)
    }
    this.#open -= bytes
    this.#held += bytes
  }

  /** The reader took bytes; returns whether enough credit has come together to be worth a window update. */
  consume(bytes: number): boolean {
    this.#held -= bytes
    this.#consumed += bytes
    return this.#owed() >= this.#size / 2
  }

  /** The credit to send now, 0 if none. */
  takeCredit(): number {
    this.#grow()
    const credit = this.#owed()
    this.#open += credit
    return credit
  }

  /** The stream is over: the budget gets back what the window had grown by. */
  release(): void {
    this.#budget.giveBack(this.#size - this.#initial)
    this.#size = this.#initial
  }

  #owed(): number {
    return this.#size - this.#open - this.#held
  }

  /** At most one doubling each time more than a window was consumed, which a stalled reader's read-ahead never amounts to. */
  #grow(): void {
    if (this.#size >= this.#max || this.#consumed <= this.#size) return
    const roundTripMs = this.#tuner.roundTripMs()
    if (roundTripMs === undefined) return
    const now = this.#tuner.now()
    const elapsedMs = now - this.#consumedSince
    if (elapsedMs < Math.max(roundTripMs, MIN_MEASURED_MS)) return
    const wanted = 2 * (this.#consumed / elapsedMs) * roundTripMs
    this.#consumed = 0
    this.#consumedSince = now
    if (wanted <= this.#size) return
    this.#size += this.#budget.take(Math.min(this.#size, this.#max - this.#size, Math.ceil(wanted) - this.#size))
  }
}

/** A rate is measured for at least this long: what one turn of the event loop brought was on its way for longer. */
const MIN_MEASURED_MS = 2
