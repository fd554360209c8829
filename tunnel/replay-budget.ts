// How much all resumable tunnels of a process may hold for replay together. A part of it is set aside: when the bulk of
// some has used up the rest, every tunnel may still send a little (window updates, pings, keystrokes) out of that part.

export const DEFAULT_REPLAY_TOTAL_BYTES = 256 * 1024 * 1024
/** The part that is set aside. */
const RESERVE_SHARE = 1 / 4
/** What one tunnel may hold out of the reserve, give or take one write. */
export const RESERVE_PER_TUNNEL_BYTES = 32 * 1024

export class ReplayBudget {
  readonly #totalBytes: number
  readonly #bulkBytes: number
  readonly #waiting = new Set<() => void>()
  #used = 0

  constructor(totalBytes: number = DEFAULT_REPLAY_TOTAL_BYTES) {
    this.#totalBytes = totalBytes
    this.#bulkBytes = Math.floor(totalBytes * (1 - RESERVE_SHARE))
  }

  get usedBytes(): number {
    return this.#used
  }

  /** Whether a tunnel that holds so much may write more. */
  hasRoomFor(heldBytes: number): boolean {
    return this.#used < (heldBytes < RESERVE_PER_TUNNEL_BYTES ? this.#totalBytes : this.#bulkBytes)
  }

  take(bytes: number): void {
    this.#used += bytes
  }

  giveBack(bytes: number): void {
    this.#used -= bytes
    if (this.#waiting.size === 0 || this.#used >= this.#totalBytes) return
    // Whoever finds no room asks again.
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const retry of waiting) retry()
  }

  /** Calls once, when something was given back. */
  whenGivenBack(retry: () => void): void {
    this.#waiting.add(retry)
  }

  forget(retry: () => void): void {
    this.#waiting.delete(retry)
  }
}

/** The one of this process, for who has no reason to make another. */
export const sharedReplayBudget = new ReplayBudget()
