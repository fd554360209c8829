/**
 * Where to look: names that the kernel says were touched, collected for a moment. Directories for which it has no watch
 * left are looked at now and then.
 *
 * When nobody reads them in time the kernel drops events (`IN_Q_OVERFLOW`) and tells Node, which does not tell us. As many
 * as its queue holds come in one go then, so a good part of that in one go is taken for it.
 */
import { type FSWatcher, readFileSync, watch } from 'node:fs'
import { hasCode } from '../files/tree.ts'
import type { Directory } from './entry.ts'

/** Makes one change of many writes, and one rename of two names. */
const SETTLE_MS = 50
const POLL_MS = 2_000
/** Of the kernel's queue: with this much at once, some may have been dropped. */
const QUEUE_SHARE = 0.5
/** The kernel's own default, for when it does not say. */
const USUAL_QUEUE = 16_384
/** Names of one directory; with more, all of it is looked at. */
const MAX_NAMES = 1_000

export type Names = Set<string> | 'all'

export interface TouchedOptions {
  /** Time to look. The next call comes when this has settled. */
  onTouched(): Promise<void>
  onQueueFull(): void
  /** Once: the kernel has no watch left. */
  onNoWatch(pollMs: number): void
  queuedEvents?: number
  settleMs?: number
  pollMs?: number
  /** `fs.watch`, or one that fails in a test. */
  watch?: typeof watch
}

export class Touched {
  readonly #options: TouchedOptions
  readonly #queuedEvents: number
  #names = new Map<Directory, Names>()
  readonly #unwatched = new Set<Directory>()
  #timer: NodeJS.Timeout | undefined
  #poll: NodeJS.Timeout | undefined
  #looking: Promise<void> = Promise.resolve()
  #eventsAtOnce = 0
  #isClosed = false

  constructor(options: TouchedOptions) {
    this.#options = options
    this.#queuedEvents = options.queuedEvents ?? kernelQueue()
  }

  /** @param path of the opened directory */
  watch(directory: Directory, path: Buffer): void {
    try {
      const watcher = (this.#options.watch ?? watch)(path, { persistent: false, encoding: 'buffer' })
      directory.watcher = watcher as unknown as FSWatcher
      watcher.on('change', (_, name) => this.#onEvent(directory, name as Buffer | null))
      watcher.on('error', () => this.lookNowAndThen(directory))
    } catch (error) {
      if (!hasCode(error, 'ENOSPC', 'EMFILE', 'ENFILE', 'ENOMEM')) throw error
      this.lookNowAndThen(directory)
    }
  }

  /** By the kernel, or now and then by us. */
  isWatched(directory: Directory): boolean {
    return directory.watcher !== undefined || this.#unwatched.has(directory)
  }

  unwatch(directory: Directory): void {
    directory.watcher?.close()
    directory.watcher = undefined
    this.#unwatched.delete(directory)
    this.#names.delete(directory)
  }

  lookNowAndThen(directory: Directory): void {
    this.#unwatched.add(directory)
    if (this.#poll !== undefined || this.#isClosed) return
    const pollMs = this.#options.pollMs ?? POLL_MS
    this.#poll = setInterval(() => {
      for (const one of this.#unwatched) this.mark(one, 'all')
    }, pollMs).unref()
    this.#options.onNoWatch(pollMs)
  }

  mark(directory: Directory, what: string | 'all'): void {
    const names = this.#names.get(directory)
    if (what === 'all' || (names !== 'all' && (names?.size ?? 0) >= MAX_NAMES)) this.#names.set(directory, 'all')
    else if (names === undefined) this.#names.set(directory, new Set([what]))
    else if (names !== 'all') names.add(what)
    if (this.#isClosed) return
    this.#timer ??= setTimeout(() => {
      this.#looking = this.#looking.then(() => {
        this.#timer = undefined
        return this.#options.onTouched()
      })
    }, this.#options.settleMs ?? SETTLE_MS).unref()
  }

  /** What was touched since the last call. */
  take(): Map<Directory, Names> {
    const names = this.#names
    this.#names = new Map()
    return names
  }

  close(): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
    clearInterval(this.#poll)
  }

  #onEvent(directory: Directory, name: Buffer | null): void {
    if (this.#isClosed) return
    if (this.#eventsAtOnce++ === 0) setImmediate(() => this.#drained())
    this.mark(directory, name === null ? 'all' : name.toString('latin1'))
  }

  /** All events that the kernel had are handed out before this. */
  #drained(): void {
    const isFull = this.#eventsAtOnce >= this.#queuedEvents * QUEUE_SHARE
    this.#eventsAtOnce = 0
    if (isFull && !this.#isClosed) this.#options.onQueueFull()
  }
}

function kernelQueue(): number {
  try {
    return Number(readFileSync('/proc/sys/fs/inotify/max_queued_events', 'utf8')) || USUAL_QUEUE
  } catch {
    return USUAL_QUEUE
  }
}
