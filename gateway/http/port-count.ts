/** Connections to ports of each task, forwards and previews alike: one that is too many is refused. */
import { RclaudeError } from '../../protocol/errors.ts'
import type { TaskId } from '../../protocol/ids.ts'

interface Closable {
  once(event: 'close', listener: () => void): unknown
}

export class PortCount {
  readonly #limit: number
  readonly #open = new Map<TaskId, number>()

  /** @param limit of one task, `limits.forwards` */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Counts until `connection` is closed. @throws RclaudeError `limit` */
  enter(taskId: TaskId, connection: Closable): void {
    const open = this.#open.get(taskId) ?? 0
    if (open >= this.#limit)
      throw new RclaudeError(
        'limit',
        `task ${taskId} has ${open} connections to its ports open, which is the limit (limits.forwards)`,
        { retryAfterSeconds: 1 },
      )
    this.#open.set(taskId, open + 1)
    connection.once('close', () => {
      const left = (this.#open.get(taskId) ?? 1) - 1
      if (left > 0) this.#open.set(taskId, left)
      else this.#open.delete(taskId)
    })
  }
}
