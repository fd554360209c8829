/**
 * The output of a process: append-only, one channel each for stdout and stderr, addressed by byte offset, read by
 * anybody as often as they like.
 *
 * Bytes enter a memory window. A *foreground* process (a client is attached) is held back when the window since the
 * client's acknowledgement is full: its pipe is not read, so it waits, and nothing is lost and no disk is used. Once the
 * client has been away for a minute, and always for a *detached* process, the window is emptied to disk segments, the
 * process is no longer held back by readers, and at the quota the oldest segment is lost. Lost bytes are told to readers
 * as a gap, whatever lost them: quota, full disk, or an acknowledgement that said they were consumed.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ATTACH_WINDOW_BYTES, type OutputChannel } from '../../protocol/process.ts'
import { DiskQuota, DiskSegments } from './disk-segments.ts'
import { MemoryWindow } from './memory-window.ts'

export interface JournalLimits {
  /** Output since the client's acknowledgement before a foreground process is held back; for each channel. */
  windowBytes: number
  /** Disk space of one process. */
  quotaBytes: number
  segmentBytes: number
  /** Left free on the disk, so that events and results still fit. */
  reserveBytes: number
  /** How long a foreground process is held back for a client that vanished. */
  clientGraceMs: number
}

export const JOURNAL_LIMITS: JournalLimits = {
  windowBytes: ATTACH_WINDOW_BYTES,
  quotaBytes: 256 * 1024 ** 2,
  segmentBytes: 8 * 1024 ** 2,
  reserveBytes: 1024 ** 2,
  clientGraceMs: 60_000,
}

/** Written to disk at once; also what may wait in memory for the disk. writev of 1 MiB was twice as fast as 64 KiB. */
const BATCH_BYTES = 1024 ** 2
/** Most that a reader is given at once. */
const READ_BYTES = 256 * 1024

/** A piece of output, or the range that is no longer held. */
export type Piece = { kind: 'bytes'; offset: number; bytes: Buffer } | { kind: 'gap'; from: number; to: number }

export interface ReadOptions {
  /** Wait for more until the channel has ended. */
  follow?: boolean
  signal?: AbortSignal | undefined
}

/** How the journal treats the process: hold it back for a client, or let it run on to the disk. */
type Mode = 'hold' | 'spill'

export class Journal {
  readonly stdout: ChannelJournal
  readonly stderr: ChannelJournal
  readonly #directory: string
  readonly #limits: JournalLimits
  readonly #detached: boolean
  #grace: NodeJS.Timeout | undefined

  /** `attached`: a client is about to attach, so the process starts held back. */
  constructor(options: { directory: string; limits: JournalLimits; detached: boolean; attached: boolean }) {
    this.#directory = options.directory
    this.#limits = options.limits
    this.#detached = options.detached
    const quota = new DiskQuota(options.limits.quotaBytes)
    const mode: Mode = options.detached || !options.attached ? 'spill' : 'hold'
    const channel = (name: OutputChannel) =>
      new ChannelJournal(new DiskSegments(join(options.directory, name), quota, options.limits), options.limits, mode)
    this.stdout = channel('stdout')
    this.stderr = channel('stderr')
    if (mode === 'hold') this.clientGone()
  }

  /** A client takes the output from now on and says what it consumed. */
  clientCame(since: { stdout: number; stderr: number }): void {
    clearTimeout(this.#grace)
    if (this.#detached) return
    this.consumed(since)
    this.stdout.setMode('hold')
    this.stderr.setMode('hold')
  }

  /** The client vanished: it has some time to come back before the process runs on without it. */
  clientGone(): void {
    clearTimeout(this.#grace)
    if (this.#detached) return
    this.#grace = setTimeout(() => {
      this.stdout.setMode('spill')
      this.stderr.setMode('spill')
    }, this.#limits.clientGraceMs)
    this.#grace.unref()
  }

  /** Everything before these offsets may be forgotten. A detached process's output is kept for other readers. */
  consumed(offsets: { stdout: number; stderr: number }): void {
    if (this.#detached) return
    this.stdout.consumedTo(offsets.stdout)
    this.stderr.consumedTo(offsets.stderr)
  }

  /** Deletes it all; readers end. */
  async remove(): Promise<void> {
    clearTimeout(this.#grace)
    await Promise.all([this.stdout.remove(), this.stderr.remove()])
    await rm(this.#directory, { recursive: true, force: true })
  }
}

export class ChannelJournal {
  readonly #window = new MemoryWindow()
  readonly #disk: DiskSegments
  readonly #limits: JournalLimits
  #mode: Mode
  #consumed = 0
  #ended = false
  #removed = false
  #flushing: Promise<void> | undefined
  #waiters = new Set<() => void>()

  constructor(disk: DiskSegments, limits: JournalLimits, mode: Mode) {
    this.#disk = disk
    this.#limits = limits
    this.#mode = mode
  }

  /** Oldest byte still held. */
  get start(): number {
    return this.#disk.start ?? this.#window.start
  }

  /** Offset of the next byte to come. */
  get end(): number {
    return this.#window.end
  }

  /** The first byte at or after `offset` that is held now; `end` when there is none. */
  heldFrom(offset: number): number {
    if (offset >= this.#window.start) return offset
    return this.#disk.heldFrom(offset) ?? this.#window.start
  }

  /** True once the last byte is in. */
  get ended(): boolean {
    return this.#ended
  }

  /** True while more may be appended; otherwise wait for `changed` and ask again. */
  get hasRoom(): boolean {
    if (this.#removed) return true
    if (this.#mode === 'hold') return this.end - this.#consumed < this.#limits.windowBytes
    return this.#window.held < BATCH_BYTES
  }

  /** The journal keeps `bytes`. Callers respect `hasRoom`; bytes are taken in any case. */
  append(bytes: Buffer): void {
    if (this.#removed) return
    this.#window.append(bytes)
    this.#flush()
    this.#notify()
  }

  /** No more will come. */
  close(): void {
    this.#ended = true
    if (this.#flushing === undefined) void this.#disk.rest()
    this.#notify()
  }

  /** Resolves when nothing is being written to the disk. */
  async settled(): Promise<void> {
    while (this.#flushing !== undefined) await this.#flushing
    if (this.#ended) await this.#disk.rest()
  }

  setMode(mode: Mode): void {
    this.#mode = mode
    this.#flush()
    this.#notify()
  }

  consumedTo(offset: number): void {
    if (offset <= this.#consumed) return
    this.#consumed = Math.min(offset, this.end)
    this.#window.dropBefore(this.#consumed)
    this.#disk.dropBefore(this.#consumed)
    this.#notify()
  }

  /** Resolves at the next change of anything, or when `signal` fires. */
  changed(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve()
      const wake = () => {
        signal?.removeEventListener('abort', wake)
        this.#waiters.delete(wake)
        resolve()
      }
      signal?.addEventListener('abort', wake, { once: true })
      this.#waiters.add(wake)
    })
  }

  /** Output from `since` on. Without `follow` up to what there is now. Ends quietly when `signal` fires. */
  async *read(since: number, options: ReadOptions = {}): AsyncGenerator<Piece, void, undefined> {
    const limit = options.follow ? Number.POSITIVE_INFINITY : this.end
    let offset = since
    while (!options.signal?.aborted && offset < limit) {
      if (offset < this.end) {
        const piece = await this.#pieceAt(offset)
        offset = piece.kind === 'gap' ? piece.to : offset + piece.bytes.length
        yield piece
      } else if (this.#ended || this.#removed) return
      else await this.changed(options.signal)
    }
  }

  async remove(): Promise<void> {
    this.#removed = true
    this.#notify()
    await this.#flushing
    await this.#disk.close()
    this.#window.dropBefore(this.end)
    this.#notify()
  }

  /** A byte that was in the window a moment ago is either still there or on disk by now, unless it was lost. */
  async #pieceAt(offset: number): Promise<Piece> {
    if (offset >= this.#window.start) return { kind: 'bytes', offset, bytes: this.#window.read(offset, READ_BYTES) }
    const bytes = await this.#disk.read(offset, READ_BYTES)
    if (bytes !== undefined) return { kind: 'bytes', offset, bytes }
    return { kind: 'gap', from: offset, to: this.#disk.nextAfter(offset) ?? this.#window.start }
  }

  /** Empties the window to the disk, batch by batch, as long as the mode says so. One at a time. */
  #flush(): void {
    if (this.#flushing !== undefined || !this.#shouldFlush()) return
    this.#flushing = this.#flushAll().finally(() => this.#flushed())
  }

  #flushed(): void {
    this.#flushing = undefined
    this.#flush()
    if (this.#ended && this.#flushing === undefined) void this.#disk.rest()
  }

  async #flushAll(): Promise<void> {
    while (this.#shouldFlush()) {
      const offset = this.#window.start
      const batch = this.#window.oldest(Math.min(BATCH_BYTES, this.#limits.segmentBytes))
      const bytes = batch.reduce((sum, slice) => sum + slice.length, 0)
      await this.#disk.write(offset, batch) // what it had to drop is a gap from now on
      this.#window.dropBefore(offset + bytes)
      this.#notify()
    }
  }

  #shouldFlush(): boolean {
    return this.#mode === 'spill' && this.#window.held > 0 && !this.#removed
  }

  #notify(): void {
    for (const wake of [...this.#waiters]) wake()
  }
}
