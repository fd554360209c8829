/**
 * Output of a process on its way to a writable: counts what the writable has really taken, which is what the agent is
 * told, and from where a new connection goes on. Bytes that were received and not yet taken when the connection was lost
 * come a second time then, and are skipped; so what waits here never exceeds the attach window.
 */
import type { Writable } from 'node:stream'

export class OutputSink {
  readonly #writable: Writable
  readonly #onTaken: () => void
  #taken: number
  #received: number
  /** Where the current connection is. */
  #at: number
  #failure: Error | undefined
  #waiters: (() => void)[] = []

  /** @param onTaken called when `taken` has grown, or writing failed */
  constructor(writable: Writable, start: number, onTaken: () => void) {
    this.#writable = writable
    this.#onTaken = onTaken
    this.#taken = start
    this.#received = start
    this.#at = start
    writable.on('error', this.#fail)
    writable.on('close', this.#onClose)
  }

  /** Offset of the first byte that the writable has not taken. */
  get taken(): number {
    return this.#taken
  }

  /** Where the current connection is: it delivered everything before. */
  get at(): number {
    return this.#at
  }

  get failure(): Error | undefined {
    return this.#failure
  }

  /** The next connection begins at `offset`. */
  restart(offset: number): void {
    this.#at = offset
  }

  receive(bytes: Buffer): void {
    const fresh = bytes.subarray(Math.max(0, this.#received - this.#at))
    this.#at += bytes.length
    if (fresh.length === 0) return
    this.#received += fresh.length
    this.#write(fresh, this.#received)
  }

  /** Bytes up to `to` are lost. @returns the range that the reader really misses */
  skip(to: number): { from: number; to: number } | undefined {
    this.#at = to
    if (to <= this.#received) return undefined
    const missed = { from: this.#received, to }
    this.#received = to
    this.#write(Buffer.alloc(0), to) // in its place: the gap counts as taken when all before it was
    return missed
  }

  /** `bytes` stand for everything before `offset`, whatever was received of it. */
  replace(bytes: Buffer, offset: number, onTaken: () => void): void {
    this.#at = offset
    this.#received = offset
    this.#write(bytes, offset, onTaken)
  }

  /** Resolves when the writable has taken everything, or failed. */
  async drained(): Promise<void> {
    while (this.#taken < this.#received && this.#failure === undefined)
      await new Promise<void>((resolve) => this.#waiters.push(resolve))
  }

  close(): void {
    this.#writable.off('close', this.#onClose)
    this.#writable.off('error', this.#fail)
  }

  #write(bytes: Buffer, end: number, onTaken?: () => void): void {
    if (this.#failure !== undefined) return
    this.#writable.write(bytes, (error) => {
      if (error) return this.#fail(error)
      this.#taken = end
      this.#changed()
      onTaken?.()
    })
  }

  readonly #onClose = () => this.#fail(new Error('the output was closed'))

  readonly #fail = (error: Error) => {
    this.#failure ??= error
    this.#changed()
  }

  #changed(): void {
    const waiters = this.#waiters
    this.#waiters = []
    for (const wake of waiters) wake()
    this.#onTaken()
  }
}
