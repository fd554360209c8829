// The sending half of a resumable transport: what is written goes to the present connection as fast as that takes it, and is
// kept until the other side acknowledges it, within the bounds of the tunnel and of all tunnels together.

import type { ReplayBudget } from './replay-budget.ts'
import { ReplayBuffer } from './replay-buffer.ts'
import type { Carrier } from './transport.ts'

export class Outflow {
  readonly #maxHeldBytes: number
  readonly #budget: ReplayBudget
  readonly #onRoom: () => void
  readonly #replay = new ReplayBuffer()
  #carrier: Carrier | undefined
  #isCarrierFull = false
  /** The writer was told false and waits for onRoom. */
  #isWriterWaiting = false
  readonly #retry = () => this.go()

  constructor(maxHeldBytes: number, budget: ReplayBudget, onRoom: () => void) {
    this.#maxHeldBytes = maxHeldBytes
    this.#budget = budget
    this.#onRoom = onRoom
  }

  /** Written and not acknowledged. */
  get held(): number {
    return this.#replay.held
  }

  /** What the other side may acknowledge: [from, to]. */
  get acknowledgeable(): readonly [number, number] {
    return [this.#replay.acknowledged, this.#replay.given]
  }

  /** False when there is no room for more: write no more until onRoom. */
  write(bytes: Buffer): boolean {
    this.#replay.append(bytes)
    this.#budget.take(bytes.length)
    this.#give()
    this.#isWriterWaiting = !this.#hasRoom()
    return !this.#isWriterWaiting
  }

  /** Whether the other side of a next connection can have everything up to `position`. */
  canRewind(position: number): boolean {
    return this.#replay.canRewind(position)
  }

  /** Goes on over `carrier`, whose other side has everything up to `position`. It is used from the next go() on. */
  attach(carrier: Carrier, position: number): void {
    this.#releasing(() => this.#replay.rewind(position))
    this.#carrier = carrier
    this.#isCarrierFull = false
  }

  detach(): void {
    this.#carrier = undefined
  }

  drained(): void {
    this.#isCarrierFull = false
    this.go()
  }

  /** False when the other side can't have that. */
  acknowledge(position: number): boolean {
    const queued = this.#carrier?.queuedBytes ?? 0
    if (!this.#releasing(() => this.#replay.acknowledge(position, queued))) return false
    this.go()
    return true
  }

  /** Something may go on: more for the connection, more from the writer. */
  go(): void {
    this.#give()
    if (!this.#isWriterWaiting || !this.#hasRoom()) return
    this.#isWriterWaiting = false
    this.#onRoom()
  }

  /** Gives the connection all there is, whatever its queue says: this is the last, and it is bounded. */
  giveAll(): void {
    for (let bytes = this.#replay.next(); bytes !== undefined; bytes = this.#replay.next()) this.#carrier?.write(bytes)
  }

  /** It is over: nothing is kept any more. */
  end(): void {
    this.#carrier = undefined
    this.#isWriterWaiting = false
    this.#budget.forget(this.#retry)
    this.#releasing(() => this.#replay.clear())
  }

  // --- helpers ---

  #give(): void {
    while (this.#carrier !== undefined && !this.#isCarrierFull) {
      const bytes = this.#replay.next()
      if (bytes === undefined) return
      this.#isCarrierFull = !this.#carrier.write(bytes)
    }
  }

  #hasRoom(): boolean {
    const { held, given, written } = this.#replay
    if (this.#carrier === undefined || this.#isCarrierFull || given < written) return false
    if (held >= this.#maxHeldBytes) return false
    if (this.#budget.hasRoomFor(held)) return true
    this.#budget.whenGivenBack(this.#retry)
    return false
  }

  /** Runs what may drop held bytes, and gives these back to the budget. */
  #releasing<T>(action: () => T): T {
    const before = this.#replay.held
    const result = action()
    const freed = before - this.#replay.held
    if (freed > 0) this.#budget.giveBack(freed)
    return result
  }
}
