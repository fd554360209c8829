// Whose turn it is to send, after fq_codel's and DRR's idea (RFC 8290): streams that send less than their share go before
// those that send more. A keystroke goes before all bulk; a newcomer with much to send goes first for one quantum and then
// takes turns with the others, frame by frame.
//
// What a stream sent is its debt. Rounds pay it off, a quantum each; a round is over when as much was sent as gives every
// waiting stream (and one more) a quantum. So who keeps sending stays in debt, whoever else there is, and who pauses is
// free again, without a clock. Nobody starves: after BURST_BYTES for the frugal, one frame of the others goes.

/** What a stream may send before it has to take turns. */
const QUANTUM_BYTES = 16 * 1024
/** Debt does not grow beyond this, so that a stream that was busy is soon forgiven. */
const MAX_DEBT_BYTES = 8 * QUANTUM_BYTES
/** So much goes for frugal streams in a row while others wait. */
const BURST_BYTES = 64 * 1024

export interface Turn<T> {
  readonly stream: T
  debt: number
  /** Up to which round the debt was paid off. */
  round: number
  isWaiting: boolean
}

export class Turns<T> {
  readonly #frugal: Turn<T>[] = []
  readonly #busy: Turn<T>[] = []
  #round = 0
  #sentInRound = 0
  /** For the frugal, since the last of the others. */
  #burst = 0
  #isFrugalTurn = false

  static turnOf<T>(stream: T): Turn<T> {
    return { stream, debt: 0, round: 0, isWaiting: false }
  }

  get waiting(): number {
    return this.#frugal.length + this.#busy.length
  }

  /** Does nothing for who waits already. */
  add(turn: Turn<T>): void {
    if (turn.isWaiting) return
    turn.isWaiting = true
    turn.debt = Math.max(0, turn.debt - (this.#round - turn.round) * QUANTUM_BYTES)
    turn.round = this.#round
    if (turn.debt < QUANTUM_BYTES) this.#frugal.push(turn)
    else this.#busy.push(turn)
  }

  /** Takes out whose turn it is. */
  next(): Turn<T> | undefined {
    this.#isFrugalTurn = this.#frugal.length > 0 && (this.#busy.length === 0 || this.#burst < BURST_BYTES)
    const turn = this.#isFrugalTurn ? this.#frugal.shift() : this.#busy.shift()
    if (turn !== undefined) turn.isWaiting = false
    return turn
  }

  /** `turn`, which was just taken out, sent so many bytes. */
  sent(turn: Turn<T>, bytes: number): void {
    this.#burst = this.#isFrugalTurn ? this.#burst + bytes : 0
    turn.debt = Math.min(MAX_DEBT_BYTES, turn.debt + bytes)
    this.#sentInRound += bytes
    const roundBytes = QUANTUM_BYTES * (this.waiting + 2) // the one that sent, and one more
    const rounds = Math.floor(this.#sentInRound / roundBytes)
    this.#round += rounds
    this.#sentInRound -= rounds * roundBytes
  }
}
