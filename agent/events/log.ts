/**
 * What the agent has to say, numbered from 1. The gateway reads it from any number on, as often as it needs to, so
 * nothing hangs on one connection. It is kept on disk within a quota; when that is reached the oldest goes first, which
 * the gateway has most likely read, and the reader is told.
 */
import { join } from 'node:path'
import type { AgentEvent, EventBody } from '../../protocol/event.ts'
import { DiskQuota, DiskSegments } from '../processes/disk-segments.ts'
import { ChannelJournal, JOURNAL_LIMITS } from '../processes/journal.ts'

export interface EventLogOptions {
  directory: string
  quotaBytes?: number
  segmentBytes?: number
  now?: () => Date
}

export class EventLog {
  readonly #journal: ChannelJournal
  readonly #now: () => Date
  /** Where each event's line begins; index 0 is event 1. */
  readonly #offsets: number[] = []

  constructor(options: EventLogOptions) {
    const limits = {
      ...JOURNAL_LIMITS,
      reserveBytes: 0, // others leave room for us
      ...(options.quotaBytes !== undefined && { quotaBytes: options.quotaBytes }),
      ...(options.segmentBytes !== undefined && { segmentBytes: options.segmentBytes }),
    }
    const segments = new DiskSegments(join(options.directory, 'events'), new DiskQuota(limits.quotaBytes), limits)
    this.#journal = new ChannelJournal(segments, limits, 'spill')
    this.#now = options.now ?? (() => new Date())
  }

  /** Number of the newest event, 0 before the first. */
  get lastSeq(): number {
    return this.#offsets.length
  }

  append(turn: number, body: EventBody): void {
    const event: AgentEvent = { agentSeq: this.lastSeq + 1, at: this.#now().toISOString(), turn, ...body }
    this.#offsets.push(this.#journal.end)
    this.#journal.append(Buffer.from(`${JSON.stringify(event)}\n`))
  }

  /** The writer should pause while the disk is behind. */
  get hasRoom(): boolean {
    return this.#journal.hasRoom
  }

  changed(signal?: AbortSignal): Promise<void> {
    return this.#journal.changed(signal)
  }

  /** NDJSON of the events after `since`, in pieces of whole lines. */
  async *read(since: number, options: { follow: boolean; signal: AbortSignal }): AsyncGenerator<Buffer> {
    let from = this.#offsets[since] ?? this.#journal.end
    while (!options.signal.aborted) {
      const lost = yield* this.#readToGap(from, options)
      if (lost === undefined) return
      const next = this.#firstFrom(lost)
      yield Buffer.from(`${JSON.stringify(this.#gap(next))}\n`)
      from = this.#offsets[next] ?? this.#journal.end
    }
  }

  /** @returns where the journal goes on after a gap; undefined when it was read to its end */
  async *#readToGap(
    from: number,
    options: { follow: boolean; signal: AbortSignal },
  ): AsyncGenerator<Buffer, number | undefined> {
    let rest: Buffer[] = []
    for await (const piece of this.#journal.read(from, options)) {
      if (piece.kind === 'gap') return piece.to // with what was begun of a line
      const end = piece.bytes.lastIndexOf(10) + 1
      if (end > 0) {
        yield Buffer.concat([...rest, piece.bytes.subarray(0, end)])
        rest = []
      }
      if (end < piece.bytes.length) rest.push(piece.bytes.subarray(end))
    }
    return undefined
  }

  /** Index of the first event whose line begins at or after `offset`. */
  #firstFrom(offset: number): number {
    let low = 0
    let high = this.#offsets.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#offsets[middle] ?? 0) < offset) low = middle + 1
      else high = middle
    }
    return low
  }

  #gap(count: number): AgentEvent {
    return {
      agentSeq: Math.max(1, count),
      at: this.#now().toISOString(),
      turn: 1,
      type: 'gap',
      what: "events beyond the agent's quota",
      count,
    }
  }

  close(): void {
    this.#journal.close()
  }
}
