/**
 * What the agent has to say, numbered from 1. The gateway reads it from any number on, as often as it needs to, so
 * nothing hangs on one connection. It is kept on disk within a quota; when that is reached the oldest goes first, which
 * the gateway has most likely read, and the reader is told.
 *
 * When the disk is full a reserve is spent on what has to be known: steps, results, warnings. Output and messages are
 * dropped from then on, and said to be, until there is room again.
 */
import { join } from 'node:path'
import type { AgentEvent, EventBody, EventType } from '../../protocol/event.ts'
import { DiskQuota, DiskSegments } from '../processes/disk-segments.ts'
import { ChannelJournal, JOURNAL_LIMITS } from '../processes/journal.ts'
import { Reserve } from './reserve.ts'

export interface EventLogOptions {
  directory: string
  quotaBytes?: number
  segmentBytes?: number
  /** Kept free for the events that must not be lost. */
  reserveBytes?: number
  /** Free space of the disk; what the system says by default. */
  freeBytes?: (directory: string) => Promise<number>
  now?: () => Date
}

/** One batch that is on its way to the disk when it turns out to be full, and as much for what ends the turn. */
const RESERVE_BYTES = 2 * 1024 ** 2
/** A disk that was full is tried again no more often than this. */
const RESERVE_RETRY_MS = 5_000
/** What a turn can be understood without. */
const LOUD: ReadonlySet<EventType> = new Set<EventType>(['output', 'session_update', 'raw'])

export class EventLog {
  readonly #journal: ChannelJournal
  readonly #reserve: Reserve
  readonly #now: () => Date
  /** Where each event's line begins; index 0 is event 1. */
  readonly #offsets: number[] = []
  /** The first event of each turn. */
  readonly #turns: { turn: number; firstIndex: number }[] = []
  /** Loud events since the disk is full. */
  #dropped = 0

  constructor(options: EventLogOptions) {
    this.#now = options.now ?? (() => new Date())
    this.#reserve = new Reserve({
      path: join(options.directory, 'events.reserve'),
      bytes: options.reserveBytes ?? RESERVE_BYTES,
      retryMs: RESERVE_RETRY_MS,
      now: this.#now,
    })
    this.#reserve.hold()
    const limits = {
      ...JOURNAL_LIMITS,
      reserveBytes: 0, // others leave room for us
      makeRoom: async () => this.#reserve.spend(),
      ...(options.freeBytes !== undefined && { freeBytes: options.freeBytes }),
      ...(options.quotaBytes !== undefined && { quotaBytes: options.quotaBytes }),
      ...(options.segmentBytes !== undefined && { segmentBytes: options.segmentBytes }),
    }
    const segments = new DiskSegments(join(options.directory, 'events'), new DiskQuota(limits.quotaBytes), limits)
    this.#journal = new ChannelJournal(segments, limits, 'spill')
  }

  /** Number of the newest event, 0 before the first. */
  get lastSeq(): number {
    return this.#offsets.length
  }

  append(turn: number, body: EventBody): void {
    if (LOUD.has(body.type) && !this.#reserve.hold()) this.#dropped += 1
    else {
      this.#sayDropped(turn)
      this.#append(turn, body)
    }
  }

  #sayDropped(turn: number): void {
    if (this.#dropped === 0) return
    this.#append(turn, { type: 'gap', what: 'events, because the disk of the agent was full', count: this.#dropped })
    this.#dropped = 0
  }

  #append(turn: number, body: EventBody): void {
    if (this.#turns.at(-1)?.turn !== turn) this.#turns.push({ turn, firstIndex: this.lastSeq })
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
      const next = this.#firstFrom(lost.to)
      yield Buffer.from(`${JSON.stringify(this.#gap(this.#firstFrom(lost.from), next))}\n`)
      from = this.#offsets[next] ?? this.#journal.end
    }
  }

  /** @returns from the first line that is not whole to where the journal goes on; undefined when it was read to its end */
  async *#readToGap(
    from: number,
    options: { follow: boolean; signal: AbortSignal },
  ): AsyncGenerator<Buffer, { from: number; to: number } | undefined> {
    let rest: Buffer[] = []
    let told = from
    for await (const piece of this.#journal.read(from, options)) {
      if (piece.kind === 'gap') return { from: told, to: piece.to } // with what was begun of a line
      const end = piece.bytes.lastIndexOf(10) + 1
      if (end > 0) {
        yield Buffer.concat([...rest, piece.bytes.subarray(0, end)])
        rest = []
        told = piece.offset + end
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

  /** In the place of the events with these indices; it has the number of the last of them. */
  #gap(first: number, next: number): AgentEvent {
    return {
      agentSeq: Math.max(1, next),
      at: this.#now().toISOString(),
      turn: this.#turns.findLast(({ firstIndex }) => firstIndex < next)?.turn ?? 1,
      type: 'gap',
      what: "events beyond the agent's quota",
      count: next - first,
    }
  }

  /** Readers that follow end. Resolves when nothing is written any more. */
  async close(): Promise<void> {
    this.#journal.close()
    await this.#journal.settled()
    this.#reserve.spend()
  }
}
