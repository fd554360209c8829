/** Tickets: each lets one browser in to one preview, once and soon. */
import type { TaskId } from '../../../protocol/ids.ts'
import { hashSecret, newSecret } from '../../auth/tokens.ts'
import type { PreviewPlace } from './hosts.ts'

/** That wait to be used; beyond it the oldest goes. */
const MAX_TICKETS = 10_000

export interface Ticket extends PreviewPlace {
  /** Of the token that asked for it. */
  tokenHash: string
  /** Where the browser goes first. */
  path: string
  expiresAtMs: number
}

export class Tickets {
  readonly #waiting = new Map<string, Ticket>()

  /** @returns what the browser shows */
  make(ticket: Ticket): string {
    for (const [key, { expiresAtMs }] of this.#waiting)
      if (expiresAtMs <= Date.now() || this.#waiting.size >= MAX_TICKETS) this.#waiting.delete(key)
      else break
    const secret = newSecret()
    this.#waiting.set(hashSecret(secret), ticket)
    return secret
  }

  /** Those of a task, or of one of its ports. */
  drop(taskId: TaskId, port?: number): void {
    for (const [key, ticket] of this.#waiting)
      if (ticket.taskId === taskId && (port ?? ticket.port) === ticket.port) this.#waiting.delete(key)
  }

  /** Takes it: a second time there is none. One for another preview is as good as none. */
  use(secret: string, { taskId, port }: PreviewPlace): Ticket | undefined {
    const key = hashSecret(secret)
    const ticket = this.#waiting.get(key)
    this.#waiting.delete(key)
    if (ticket === undefined || ticket.expiresAtMs <= Date.now()) return undefined
    return ticket.taskId === taskId && ticket.port === port ? ticket : undefined
  }
}
