/**
 * Watches a directory and all below it. The kernel only says where to look; what is told comes of comparing what is there
 * with what was known, so it is true however events were merged, reordered or lost.
 *
 * Directories are opened by the same walk as for reading, and what is watched is the opened directory, so that a tree that
 * changes meanwhile leads nobody out of the workspace. Symlinks are told and not followed.
 */
import type { BigIntStats } from 'node:fs'
import { RclaudeError } from '../../protocol/errors.ts'
import { type FileChange, MAX_WATCHED_ENTRIES, type WatchOverflow } from '../../protocol/watch.ts'
import { findPlace, joinBytes } from '../files/tree.ts'
import { change } from './change.ts'
import {
  type Directory,
  type Entry,
  factsOf,
  isAttached,
  isDirectory,
  isSame,
  isUntouched,
  namesTo,
  newEntry,
  pathOf,
  withDescendants,
} from './entry.ts'
import { inDirectory, inOpened, namesIn, statsOf } from './open.ts'
import { type Finding, moveRenamed } from './renames.ts'
import { type Names, Touched, type TouchedOptions } from './touched.ts'

/** Directories below this depth are told and not looked into. */
const MAX_DEPTH = 200
/** Looks for a directory that is on the move: what is above it will be told of soon. */
const MAX_MISSES = 20

export interface TreeWatcherOptions extends Pick<TouchedOptions, 'queuedEvents' | 'settleMs' | 'pollMs' | 'watch'> {
  /** The workspace. */
  root: string
  /** Names from there to the directory to watch. */
  at: readonly Buffer[]
  ignores(path: string, isDirectory: boolean): boolean
  onChanges(changes: FileChange[]): void
  onOverflow(overflow: WatchOverflow): void
  /** Nothing more comes. */
  onEnd(message: string): void
  maxEntries?: number
}

export class TreeWatcher {
  readonly #options: TreeWatcherOptions
  readonly #touched: Touched
  #top: Directory | undefined
  /** Directories that were touched and not found at their place, with how often. */
  #missed = new Map<Directory, number>()
  #entries = 0
  #isClosed = false

  constructor(options: TreeWatcherOptions) {
    this.#options = options
    this.#touched = new Touched({
      ...options,
      onTouched: () => this.#look(),
      onQueueFull: () => this.#onQueueFull(),
      onNoWatch: (pollMs) => options.onOverflow({ reason: 'watches', message: noWatchLeft(pollMs) }),
    })
  }

  /** Resolves when every change from now on is told. @throws RclaudeError, or the system's error */
  async start(): Promise<void> {
    const place = await findPlace(this.#options.root, this.#options.at, { followLast: false })
    try {
      if (place.stats === undefined) throw new RclaudeError('not_found', 'there is no such directory in the workspace')
      const top = newEntry('', undefined, place.stats)
      if (!isDirectory(top))
        throw new RclaudeError('unsupported', 'only a directory can be watched; a file is, with the directory it is in')
      this.#top = top
      if (!(await inOpened(place.path, (here) => this.#scan(top, here, undefined), top.ino)))
        throw new RclaudeError('conflict', 'the directory changed while it was opened; try again')
    } catch (error) {
      this.close()
      throw error
    } finally {
      await place.close()
    }
  }

  get entries(): number {
    return this.#entries
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#touched.close()
    if (this.#top !== undefined) this.#forget(this.#top)
  }

  #end(message: string): void {
    if (this.#isClosed) return
    this.close()
    this.#options.onEnd(message)
  }

  /** Watches before it reads, so that nothing comes in between. What is new goes to `found`, if anybody wants it. */
  async #scan(directory: Directory, here: Buffer, found: Entry[] | undefined): Promise<void> {
    this.#touched.watch(directory, here)
    for await (const [name, stats] of statsOf(here, await namesIn(here))) {
      if (this.#isClosed) return
      if (stats === undefined || directory.children.has(name)) continue
      const entry = this.#add(directory, name, stats)
      if (entry === undefined) continue
      found?.push(entry)
      if (!isDirectory(entry) || namesTo(entry).length > MAX_DEPTH) continue
      const path = joinBytes(here, Buffer.from(name, 'latin1'))
      // One that vanishes or turns into something else meanwhile is told by the one above it.
      await inOpened(path, (inside) => this.#scan(entry, inside, found), entry.ino)
    }
  }

  #add(directory: Directory, name: string, stats: BigIntStats): Entry | undefined {
    const entry = newEntry(name, directory, stats)
    if (this.#isIgnored(entry)) return undefined
    const max = this.#options.maxEntries ?? MAX_WATCHED_ENTRIES
    if (++this.#entries > max)
      throw new RclaudeError('limit', `more than ${max} files and directories: leave some out with ignore=PATTERN`)
    directory.children.set(name, entry)
    return entry
  }

  async #look(): Promise<void> {
    try {
      await this.#tell(this.#touched.take())
    } catch (error) {
      this.#end(error instanceof Error ? error.message : String(error))
    }
  }

  async #tell(touched: ReadonlyMap<Directory, Names>): Promise<void> {
    const findings: Finding[] = []
    for (const [directory, names] of touched) {
      if (this.#isClosed) return
      await this.#lookAt(directory, names, findings)
    }
    const changes: FileChange[] = []
    const moved = moveRenamed(findings, changes, (entry) => this.#forget(entry))
    for (const finding of findings) await this.#settle(finding, changes)
    if (!this.#isClosed && changes.length > 0) this.#options.onChanges(changes)
    for (const entry of moved) this.#lookAgain(entry)
    this.#lookForMissed()
  }

  /** One that is gone is told of by the directory above. */
  async #lookAt(directory: Directory, names: Names, findings: Finding[]): Promise<void> {
    const isThere = await this.#inDirectory(directory, async (here) => {
      // It was elsewhere when it was to be watched.
      const isNew = isAttached(directory) && !this.#touched.isWatched(directory)
      if (isNew) this.#touched.watch(directory, here)
      const isAll = isNew || names === 'all'
      const wanted = isAll ? new Set([...(await namesIn(here)), ...directory.children.keys()]) : names
      for await (const [name, stats] of statsOf(here, wanted)) findings.push({ directory, name, stats })
    })
    if (isThere) this.#missed.delete(directory)
    else if (directory === this.#top) this.#end('the watched directory is gone')
    else this.#missed.set(directory, (this.#missed.get(directory) ?? 0) + 1)
  }

  /** Makes the tree as it was found, and tells each step. */
  async #settle({ directory, name, stats }: Finding, changes: FileChange[]): Promise<void> {
    if (this.#isClosed || !isAttached(directory)) return
    const known = directory.children.get(name)
    const now = stats && newEntry(name, directory, stats)
    const isReplaced = known !== undefined && now !== undefined && !isSame(known, now)
    if (known !== undefined && (now === undefined || (isReplaced && !isSavedAnew(known, now)))) {
      changes.push(change('deleted', pathOf(known), known))
      directory.children.delete(name)
      this.#forget(known)
    } else if (known !== undefined && stats !== undefined && now !== undefined) {
      const isChanged = isReplaced || !isUntouched(known, now)
      Object.assign(known, factsOf(stats))
      if (isDirectory(known) && !this.#touched.isWatched(known)) this.#touched.mark(known, 'all')
      if (isChanged) changes.push(change('modified', pathOf(known), known))
      return
    }
    const entry = stats && this.#add(directory, name, stats)
    if (entry === undefined) return
    const found = [entry]
    if (isDirectory(entry)) await this.#inDirectory(entry, (here) => this.#scan(entry, here, found))
    for (const one of found) changes.push(change('created', pathOf(one), one))
  }

  /** It may have moved, and even be back by now. */
  #lookForMissed(): void {
    for (const [directory, times] of this.#missed) {
      if (times < MAX_MISSES && isAttached(directory)) this.#touched.mark(directory, 'all')
      else this.#missed.delete(directory)
    }
  }

  /** What was touched in a directory while it moved may have been looked for at its old place. */
  #lookAgain(moved: Entry): void {
    for (const entry of withDescendants(moved)) if (isDirectory(entry)) this.#touched.mark(entry, 'all')
  }

  #inDirectory(directory: Directory, use: (here: Buffer) => Promise<void>): Promise<boolean> {
    return inDirectory(this.#options.root, this.#options.at, directory, use)
  }

  #isIgnored(entry: Entry): boolean {
    return this.#options.ignores(Buffer.from(pathOf(entry), 'latin1').toString('utf8'), isDirectory(entry))
  }

  #forget(entry: Entry): void {
    for (const one of withDescendants(entry)) {
      this.#entries--
      if (isDirectory(one)) this.#touched.unwatch(one)
    }
  }

  #onQueueFull(): void {
    if (this.#top === undefined) return
    for (const entry of withDescendants(this.#top)) if (isDirectory(entry)) this.#touched.mark(entry, 'all')
    const message = 'more changed at once than the machine keeps track of; list the directory again'
    this.#options.onOverflow({ reason: 'queue', message })
  }
}

/** As editors save: another file takes the name. */
const isSavedAnew = (known: Entry, now: Entry): boolean => known.type === now.type && !isDirectory(known)

const noWatchLeft = (pollMs: number): string =>
  `the machine has no watch left (fs.inotify.max_user_watches, max_user_instances): some directories are looked at every ${pollMs / 1000} s instead; list the directory again, and leave out with ignore=PATTERN what need not be watched`
