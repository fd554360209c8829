/**
 * Standard input of a process, applied exactly once: every write says at which offset it belongs, what was accepted
 * before is skipped, and a hole is refused. `accepted` bytes are ours to deliver, `written` ones are in the pipe; the
 * difference waits in memory and is bounded by whoever writes (the attach window, the upload's own waiting).
 */
import type { Writable } from 'node:stream'
import { RclaudeError } from '../../protocol/errors.ts'

export class ProcessStdin {
  readonly #pipe: Writable | undefined
  readonly #processId: string
  readonly #listeners = new Set<() => void>()
  #accepted = 0
  #written = 0
  #ended: boolean

  constructor(pipe: Writable | undefined, processId: string) {
    this.#pipe = pipe
    this.#processId = processId
    this.#ended = pipe === undefined
  }

  get accepted(): number {
    return this.#accepted
  }

  /** Bytes that the pipe has taken, or that a process which closed its input will never read. */
  get written(): number {
    return this.#written
  }

  get pending(): number {
    return this.#accepted - this.#written
  }

  /** @throws RclaudeError `conflict` for a hole, or for bytes after the end */
  write(offset: number, bytes: Buffer): void {
    if (offset > this.#accepted)
      throw this.#conflict(`got standard input for offset ${offset}, but has only ${this.#accepted} bytes so far`)
    const fresh = bytes.subarray(this.#accepted - offset)
    if (fresh.length === 0) return
    if (this.#pipe === undefined) throw this.#conflict('was started without standard input; start it with stdin: true')
    if (this.#ended) throw this.#conflict(`has had the end of its standard input at ${this.#accepted} bytes`)
    this.#accepted += fresh.length
    this.#pipe.write(fresh, () => {
      this.#written += fresh.length // also when it failed: the process closed its input, as it may
      for (const listener of [...this.#listeners]) listener()
    })
  }

  /** The end of input. Repeating it is harmless. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#pipe?.end()
  }

  /** Calls `listener` whenever `written` has grown. @returns how to stop that */
  onWritten(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Resolves when at most `pending` bytes wait for the pipe. @throws the signal's reason */
  async waitBelow(pending: number, signal: AbortSignal): Promise<void> {
    while (this.pending > pending) {
      signal.throwIfAborted()
      await new Promise<void>((resolve) => {
        const wake = () => {
          stop()
          signal.removeEventListener('abort', wake)
          resolve()
        }
        const stop = this.onWritten(wake)
        signal.addEventListener('abort', wake, { once: true })
      })
    }
  }

  #conflict(what: string): RclaudeError {
    return new RclaudeError('conflict', `process ${this.#processId} ${what}`)
  }
}
