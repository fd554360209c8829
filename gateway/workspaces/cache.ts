/**
 * What a project's owner has sent before: one bare repository per owner and project, from which a new task's repository
 * borrows objects *while the owner pushes*, so that only new objects travel. Agents never see it: a task's repository is
 * made self-contained first. A cache is never packed or pruned; one that has grown too large is deleted as a whole, when
 * nobody borrows from it.
 */
import { createHash } from 'node:crypto'
import { readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { exists } from '../../host/exists.ts'
import { git } from './git.ts'
import { Queues } from './queue.ts'
import { borrowsFrom, createRepository, diskBytes, type ObjectFormat, readRefs } from './repository.ts'

/** Tips that a cache keeps. Each becomes a line of the next push's advertisement. */
const MAX_TIPS = 16

export interface CacheOptions {
  /** Holds the caches. */
  directory: string
  /** The tasks' repositories, any of which may borrow. */
  workspaces: string
  /** A cache above this is deleted when it is free. */
  maxBytes: number
  maxInputBytes: number
}

export class Cache {
  readonly #options: CacheOptions
  readonly #queues = new Queues()

  constructor(options: CacheOptions) {
    this.#options = options
  }

  /** Where this project's cache lies, whether it exists or not. */
  pathOf(owner: string, project: string, objectFormat: ObjectFormat): string {
    const name = createHash('sha256').update(`${owner}\0${project}\0${objectFormat}`).digest('hex')
    return join(this.#options.directory, `${name}.git`)
  }

  /** Runs `borrow` with the path of the cache, if it exists, while nobody can delete it. */
  async lend(path: string, borrow: (path: string) => Promise<void>): Promise<void> {
    await this.#queues.run(path, async () => {
      if (await exists(path)) await borrow(path)
    })
  }

  /** Takes over what a self-contained repository holds under `refs`. */
  async feed(
    path: string,
    from: string,
    refs: readonly string[],
    objectFormat: ObjectFormat,
    /** Commits that `refs` reach and the next push is to hear of, each by a name that stays. */
    inner: ReadonlyMap<string, string> = new Map(),
    signal?: AbortSignal,
  ): Promise<void> {
    await this.#queues.run(path, async () => {
      if (!(await exists(path))) await this.#create(path, objectFormat)
      const specs = refs.map((ref) => `+${ref}:refs/incoming/${ref.slice('refs/'.length)}`)
      await git(['fetch', '-q', '--update-shallow', '--no-tags', '--no-write-fetch-head', from, ...specs], {
        repository: path,
        signal,
      })
      await this.#keepTips(path)
      const updates = [...inner].map(([ref, id]) => `update ${ref} ${id}\n`).join('')
      if (updates !== '') await git(['update-ref', '--stdin'], { repository: path, input: Buffer.from(updates) })
      if ((await diskBytes(path)) > this.#options.maxBytes && !(await this.#isBorrowed(path)))
        await rm(path, { recursive: true, force: true })
    })
  }

  async #create(path: string, objectFormat: ObjectFormat): Promise<void> {
    const unfinished = `${path}.new`
    await rm(unfinished, { recursive: true, force: true })
    await createRepository(unfinished, { objectFormat, maxInputBytes: this.#options.maxInputBytes })
    await rename(unfinished, path)
  }

  /** Files the incoming commits as tips, numbered, and drops the oldest numbers. */
  async #keepTips(path: string): Promise<void> {
    const refs = await readRefs(path)
    const tips = [...refs].filter(([ref]) => ref.startsWith('refs/tips/')).sort(([a], [b]) => (a < b ? -1 : 1))
    const known = new Set(tips.map(([, id]) => id))
    let number = Number(tips.at(-1)?.[0].slice('refs/tips/'.length) ?? 0)
    const commands: string[] = []
    for (const [ref, id] of refs) {
      if (!ref.startsWith('refs/incoming/')) continue
      commands.push(`delete ${ref}`)
      if (known.has(id)) continue
      known.add(id)
      const name = `refs/tips/${String(++number).padStart(10, '0')}`
      commands.push(`create ${name} ${id}`)
      tips.push([name, id])
    }
    for (const [ref] of tips.slice(0, Math.max(0, tips.length - MAX_TIPS))) commands.push(`delete ${ref}`)
    await git(['update-ref', '--stdin'], {
      repository: path,
      input: Buffer.from(commands.map((line) => `${line}\n`).join('')),
    })
  }

  async #isBorrowed(path: string): Promise<boolean> {
    for (const name of await readdir(this.#options.workspaces).catch(() => []))
      if ((await borrowsFrom(join(this.#options.workspaces, name))) === path) return true
    return false
  }
}
