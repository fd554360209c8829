/** Why a turn is ended from outside. The first cause wins: what comes after it is a consequence. */
import type { Outcome, Reason } from '../../protocol/outcome.ts'

export interface StopCause {
  outcome: Extract<Outcome, 'cancelled' | 'timeout' | 'interrupted'>
  reason: Reason
  message: string
}

export class Stop {
  readonly #controller = new AbortController()
  #cause: StopCause | undefined

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  get cause(): StopCause | undefined {
    return this.#cause
  }

  because(cause: StopCause): void {
    this.#cause ??= cause
    this.#controller.abort()
  }
}
