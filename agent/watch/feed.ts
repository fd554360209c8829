/**
 * What is told of one watched tree, numbered, to any number of readers at their own pace. The newest is held within a
 * bound; a reader that wants something older is told that it has missed some. Numbers are of this feed alone: a new one
 * has another epoch.
 */
import { randomBytes } from 'node:crypto'
import {
  type FileChange,
  MAX_CHANGES_PER_EVENT,
  WATCH_HELD_BYTES,
  type WatchEnd,
  type WatchOverflow,
  type WatchReady,
} from '../../protocol/watch.ts'

export type Message =
  | { event: 'ready'; data: WatchReady }
  | { event: 'change'; data: { changes: FileChange[] } }
  | { event: 'overflow'; data: WatchOverflow }
  | { event: 'end'; data: WatchEnd }

interface Held {
  number: number
  frame: string
}

const MISSED = 'what changed meanwhile is not known any more; list the directory again'

export class Feed {
  readonly #epoch = randomBytes(6).toString('hex')
  readonly #maxBytes: number
  #held: Held[] = []
  #bytes = 0
  #last = 0
  #hasEnded = false
  readonly #waiting = new Set<() => void>()

  constructor(maxBytes = WATCH_HELD_BYTES) {
    this.#maxBytes = maxBytes
  }

  tellChanges(changes: readonly FileChange[]): void {
    for (let from = 0; from < changes.length; from += MAX_CHANGES_PER_EVENT)
      this.tell({ event: 'change', data: { changes: changes.slice(from, from + MAX_CHANGES_PER_EVENT) } })
  }

  tell(message: Message): void {
    if (this.#hasEnded) return
    this.#hasEnded = message.event === 'end'
    const frame = this.#frame(message, ++this.#last)
    this.#held.push({ number: this.#last, frame })
    this.#bytes += frame.length
    // The newest stays, whatever its size: whoever reads along must get it.
    while (this.#bytes > this.#maxBytes && this.#held.length > 1) this.#bytes -= this.#held.shift()?.frame.length ?? 0
    this.#wake()
  }

  get heldBytes(): number {
    return this.#bytes
  }

  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** Frames of server-sent events, as they come. @param since a client's Last-Event-ID */
  async *read(ready: WatchReady, since: string | undefined, signal: AbortSignal): AsyncGenerator<string> {
    const from = since === undefined ? this.#last : this.#positionOf(since)
    let at = from ?? this.#last
    if (from === undefined) yield this.#missed(at)
    yield this.#frame({ event: 'ready', data: ready }, at)
    while (!signal.aborted) {
      const first = this.#held[0]?.number ?? this.#last + 1
      if (at + 1 < first) {
        at = first - 1
        yield this.#missed(at)
      }
      const next = this.#held[at + 1 - first]
      if (next !== undefined) {
        at = next.number
        yield next.frame
      } else if (this.#hasEnded) return
      else await this.#news(signal)
    }
  }

  #positionOf(id: string): number | undefined {
    const [, epoch, number] = /^([0-9a-f]+)-(\d{1,15})$/.exec(id) ?? []
    const at = Number(number)
    const oldest = (this.#held[0]?.number ?? this.#last + 1) - 1
    return epoch === this.#epoch && at >= oldest && at <= this.#last ? at : undefined
  }

  #missed(at: number): string {
    return this.#frame({ event: 'overflow', data: { reason: 'gap', message: MISSED } }, at)
  }

  /** JSON has no line breaks of its own. */
  #frame({ event, data }: Message, number: number): string {
    return `id: ${this.#epoch}-${number}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`
  }

  #news(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#waiting.delete(done)
        signal.removeEventListener('abort', done)
        resolve()
      }
      this.#waiting.add(done)
      signal.addEventListener('abort', done, { once: true })
    })
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake()
  }
}
