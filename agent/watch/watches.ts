/**
 * The watches of a workspace. Clients that ask for the same share one; it goes on for a while after the last of them, so
 * that a client whose connection was cut finds what it missed.
 */
import ignore from 'ignore'
import { RclaudeError } from '../../protocol/errors.ts'
import { MAX_WATCHES } from '../../protocol/watch.ts'
import { Feed } from './feed.ts'
import { TreeWatcher, type TreeWatcherOptions } from './tree-watcher.ts'

/** How long a watch goes on that nobody reads. */
const LINGER_MS = 60_000
/** The matcher remembers each path that it was asked for: now and then it is made anew. */
const MATCHER_USES = 50_000

export interface WatchesOptions extends Partial<Pick<TreeWatcherOptions, 'maxEntries' | 'queuedEvents' | 'watch'>> {
  root: string
  settleMs?: number
  pollMs?: number
  lingerMs?: number
  heldBytes?: number
  maxWatches?: number
}

interface Watch {
  feed: Feed
  watcher: TreeWatcher
  started: Promise<void>
  readers: number
  lingering: NodeJS.Timeout | undefined
}

export class Watches {
  readonly #options: WatchesOptions
  readonly #watches = new Map<string, Watch>()

  constructor(options: WatchesOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#watches.size
  }

  /** Call `release` when done. @throws RclaudeError `limit`, and what the directory makes impossible */
  async join(at: readonly Buffer[], patterns: readonly string[]): Promise<{ feed: Feed; release(): void }> {
    const key = JSON.stringify([at.map((name) => name.toString('latin1')), patterns])
    const watch = this.#watches.get(key) ?? this.#begin(key, at, patterns)
    watch.readers++
    clearTimeout(watch.lingering)
    const release = () => {
      if (--watch.readers > 0) return
      const end = () => this.#drop(key, watch)
      if (watch.feed.hasEnded) end()
      else watch.lingering = setTimeout(end, this.#options.lingerMs ?? LINGER_MS).unref()
    }
    try {
      await watch.started
    } catch (error) {
      this.#drop(key, watch)
      throw error
    }
    return { feed: watch.feed, release }
  }

  #begin(key: string, at: readonly Buffer[], patterns: readonly string[]): Watch {
    const max = this.#options.maxWatches ?? MAX_WATCHES
    if (this.#watches.size >= max && !this.#dropIdle())
      throw new RclaudeError('limit', `${max} directories of this task are watched already: end one, or watch the same`)
    const feed = new Feed(this.#options.heldBytes)
    const watcher = new TreeWatcher({
      ...this.#options,
      at,
      ignores: matcher(patterns),
      onChanges: (changes) => feed.tellChanges(changes),
      onOverflow: (data) => feed.tell({ event: 'overflow', data }),
      onEnd: (message) => {
        feed.tell({ event: 'end', data: { message } })
        if (this.#watches.get(key) === watch) this.#watches.delete(key) // the next client begins anew
      },
    })
    const watch: Watch = { feed, watcher, started: watcher.start(), readers: 0, lingering: undefined }
    this.#watches.set(key, watch)
    return watch
  }

  #drop(key: string, watch: Watch): void {
    clearTimeout(watch.lingering)
    watch.watcher.close()
    if (this.#watches.get(key) === watch) this.#watches.delete(key)
  }

  /** One that nobody reads makes room. */
  #dropIdle(): boolean {
    for (const [key, watch] of this.#watches) {
      if (watch.readers > 0) continue
      this.#drop(key, watch)
      return true
    }
    return false
  }
}

function matcher(patterns: readonly string[]): (path: string, isDirectory: boolean) => boolean {
  let uses = 0
  let rules = ignore()
  return (path, isDirectory) => {
    if (patterns.length === 0) return false
    if (uses++ % MATCHER_USES === 0) rules = ignore({ allowRelativePaths: true, ignorecase: false }).add([...patterns])
    return rules.ignores(isDirectory ? `${path}/` : path)
  }
}
