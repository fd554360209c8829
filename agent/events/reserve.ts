/**
 * Space that is kept for the words that must not be lost: a file that holds nothing, deleted when the disk is full. Kept
 * again once there is room.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

export interface ReserveOptions {
  path: string
  bytes: number
  /** After a failure, so long until it is tried again. */
  retryMs: number
  now(): Date
}

export class Reserve {
  readonly #options: ReserveOptions
  #isHeld = false
  #triedAt = Number.NEGATIVE_INFINITY

  constructor(options: ReserveOptions) {
    this.#options = options
  }

  /** Takes the space if it is not held; now and then, when there was none. @returns whether it is held */
  hold(): boolean {
    const now = this.#options.now().getTime()
    if (this.#isHeld || now - this.#triedAt < this.#options.retryMs) return this.#isHeld
    this.#triedAt = now
    try {
      mkdirSync(dirname(this.#options.path), { recursive: true, mode: 0o700 })
      writeFileSync(this.#options.path, Buffer.alloc(this.#options.bytes), { mode: 0o600 })
      this.#isHeld = true
    } catch {
      this.#delete() // what was written of it
    }
    return this.#isHeld
  }

  /** Gives the space away. @returns false when there was none */
  spend(): boolean {
    if (!this.#isHeld) return false
    this.#isHeld = false
    this.#triedAt = this.#options.now().getTime()
    this.#delete()
    return true
  }

  #delete(): void {
    try {
      rmSync(this.#options.path, { force: true })
    } catch {
      // A folder that is gone or read-only: its space is not ours to give.
    }
  }
}
