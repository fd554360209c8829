/**
 * The tasks' repositories, one bare repository each.
 *
 * create (borrowing from the project's cache) -> the owner pushes, or uploads a tar or a bundle -> seal: the repository
 * becomes self-contained, the snapshot can no longer change, the cache learns what was new -> the agent fetches, and
 * pushes checkpoints and the result -> clients fetch and diff, container or not -> delete.
 *
 * Everything that matters is on disk, so a killed gateway goes on where it stopped; each step may be repeated.
 */
import { mkdirSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { exists } from '../../host/exists.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import type { TaskId } from '../../protocol/ids.ts'
import type { Parts } from '../../protocol/parts.ts'
import { REFS } from '../../protocol/run.ts'
import { importBundle } from './bundle.ts'
import { Cache } from './cache.ts'
import { type DiffStat, diffStat } from './diff.ts'
import { isSealed, readMeta, type WorkspaceRefs, workspaceRefs, writeMeta, writeSeal } from './folder.ts'
import { git } from './git.ts'
import { cacheRefs, readPartsOf } from './parts.ts'
import { Queues } from './queue.ts'
import { type NamedRange, patchOf, resolveRange } from './range.ts'
import {
  borrow,
  borrowsFrom,
  checkConnected,
  createRepository,
  diskBytes,
  makeSelfContained,
  type ObjectFormat,
  readRefs,
  stopBorrowing,
} from './repository.ts'
import { importTar } from './tar.ts'

export const DEFAULT_MAX_INPUT_BYTES = 4 * 1024 ** 3
export const DEFAULT_MAX_CACHE_BYTES = 8 * 1024 ** 3
/** Entries of an uploaded tar. */
export const DEFAULT_MAX_ENTRIES = 1_000_000

export interface WorkspacesOptions {
  /** The gateway's data; `workspaces/` and `cache/` are made in it. */
  directory: string
  /** Largest push, tar or bundle. */
  maxInputBytes?: number
  /** A project's cache above this is dropped when it is free. */
  maxCacheBytes?: number
  maxEntries?: number
  now?: () => Date
  /** Told of what went wrong without harm to the task. */
  warn?: (message: string, error: unknown) => void
}

export interface CreateWorkspace {
  objectFormat: ObjectFormat
  owner: string
  /** Tasks of one owner with the same project share what was already sent. */
  project?: string | undefined
}

/** What `serveGit` needs to know of a caller. */
export interface GitAccess {
  repository: string
  allow: { read: boolean; writeRefs: readonly string[] }
}

export class Workspaces {
  /** Where the repositories are; it exists. */
  readonly directory: string
  readonly #options: Required<Omit<WorkspacesOptions, 'directory'>>
  readonly #cache: Cache
  readonly #queues = new Queues()

  constructor(options: WorkspacesOptions) {
    this.directory = join(options.directory, 'workspaces')
    this.#options = {
      maxInputBytes: options.maxInputBytes ?? DEFAULT_MAX_INPUT_BYTES,
      maxCacheBytes: options.maxCacheBytes ?? DEFAULT_MAX_CACHE_BYTES,
      maxEntries: options.maxEntries ?? DEFAULT_MAX_ENTRIES,
      now: options.now ?? (() => new Date()),
      warn: options.warn ?? (() => {}),
    }
    const cacheDirectory = join(options.directory, 'cache')
    for (const path of [this.directory, cacheDirectory]) mkdirSync(path, { recursive: true, mode: 0o700 })
    this.#cache = new Cache({
      directory: cacheDirectory,
      workspaces: this.directory,
      maxBytes: this.#options.maxCacheBytes,
      maxInputBytes: this.#options.maxInputBytes,
    })
  }

  repositoryPath(taskId: TaskId): string {
    return join(this.directory, `${taskId}.git`)
  }

  /** An empty repository. Making it again replaces one that nothing was delivered to. */
  async create(taskId: TaskId, options: CreateWorkspace): Promise<void> {
    const path = this.repositoryPath(taskId)
    const { objectFormat, owner, project } = options
    await this.#queues.run(taskId, async () => {
      const unfinished = `${path}.new`
      await rm(unfinished, { recursive: true, force: true })
      await createRepository(unfinished, { objectFormat, maxInputBytes: this.#options.maxInputBytes })
      const cache = project === undefined ? undefined : this.#cache.pathOf(owner, project, objectFormat)
      await writeMeta(unfinished, { objectFormat, ...(cache !== undefined && { cache }) })
      if ((await this.#exists(taskId)) && Object.keys(await workspaceRefs(path)).length > 0)
        throw new RclaudeError('conflict', `task ${taskId} has a workspace already`)
      await rm(path, { recursive: true, force: true })
      await rename(unfinished, path)
      if (cache !== undefined) await this.#cache.lend(cache, (from) => borrow(path, from))
    })
  }

  /** What this caller may do right now. @throws {RclaudeError} `not_found`, or `conflict` for an agent or a guest that is too early */
  async access(taskId: TaskId, caller: 'owner' | 'agent' | 'reader' | 'guest'): Promise<GitAccess> {
    const repository = await this.#existing(taskId)
    if (caller === 'reader') return { repository, allow: { read: true, writeRefs: [] } }
    if (caller === 'owner') {
      const writeRefs = (await isSealed(repository)) ? [] : [REFS.snapshot, REFS.base, REFS.parts]
      return { repository, allow: { read: true, writeRefs } }
    }
    if ((await borrowsFrom(repository)) !== undefined)
      throw new RclaudeError('conflict', `the workspace of ${taskId} is still being delivered`)
    if (caller === 'guest') return { repository, allow: { read: true, writeRefs: [] } }
    // A cloned repository comes through the agent: once, and not again.
    const snapshot = (await workspaceRefs(repository)).snapshot === undefined ? [REFS.snapshot] : []
    return { repository, allow: { read: true, writeRefs: [REFS.checkpoint, REFS.session, REFS.result, ...snapshot] } }
  }

  /** The snapshot as a tar, gzipped or not. Does not seal. */
  async acceptTar(taskId: TaskId, tar: Readable, signal?: AbortSignal): Promise<void> {
    await this.#deliver(taskId, (repository) =>
      importTar(tar, {
        repository,
        ref: REFS.snapshot,
        maxBytes: this.#options.maxInputBytes,
        maxEntries: this.#options.maxEntries,
        now: this.#options.now,
        signal,
      }),
    )
  }

  /** The snapshot as a git bundle: its HEAD, or the ref that is named. Does not seal. */
  async acceptBundle(taskId: TaskId, bundle: Readable, from?: string, signal?: AbortSignal): Promise<void> {
    const maxBytes = this.#options.maxInputBytes
    await this.#deliver(taskId, (repository) =>
      importBundle(bundle, { repository, ref: REFS.snapshot, from, maxBytes, signal }),
    )
  }

  async #deliver(taskId: TaskId, work: (repository: string) => Promise<void>): Promise<void> {
    const repository = await this.#existing(taskId)
    await this.#queues.run(taskId, async () => {
      if (await isSealed(repository)) throw new RclaudeError('conflict', `task ${taskId} has its workspace already`)
      await work(repository)
    })
  }

  /**
   * From here on the snapshot is what it is, and the agent may read. Repeating it is harmless.
   * @throws {RclaudeError} `conflict` when no snapshot was delivered
   */
  async seal(taskId: TaskId, signal?: AbortSignal): Promise<{ snapshot: string; base?: string }> {
    const repository = await this.#existing(taskId)
    return await this.#queues.run(taskId, async () => {
      const { snapshot, base } = await workspaceRefs(repository)
      if (snapshot === undefined)
        throw new RclaudeError(
          'conflict',
          `task ${taskId} has no snapshot yet: push ${REFS.snapshot}, or upload a tar or a bundle`,
        )
      const sealed = { snapshot, ...(base !== undefined && { base }) }
      if (await isSealed(repository)) return sealed
      const parts = await readPartsOf(repository)
      if ((await borrowsFrom(repository)) !== undefined) await makeSelfContained(repository, signal)
      else await checkConnected(repository, signal)
      await writeSeal(repository)
      await this.#feedCache(repository, base === undefined ? [REFS.snapshot] : [REFS.snapshot, REFS.base], parts)
      return sealed
    })
  }

  /** A cache that could not be fed costs the next task time, and this one nothing. */
  async #feedCache(repository: string, refs: readonly string[], parts?: Parts): Promise<void> {
    try {
      const { cache, objectFormat } = await readMeta(repository)
      if (cache !== undefined) await this.#cache.feed(cache, repository, refs, objectFormat, cacheRefs(parts))
    } catch (error) {
      this.#options.warn('the cache of a project could not be extended', error)
    }
  }

  async refs(taskId: TaskId): Promise<WorkspaceRefs> {
    return await workspaceRefs(await this.#existing(taskId))
  }

  /** Copies those of the refs that the other task has. */
  async copyFrom(taskId: TaskId, other: TaskId, refs: readonly string[], signal?: AbortSignal): Promise<void> {
    const [repository, from] = await Promise.all([this.#existing(taskId), this.#existing(other)])
    const held = await readRefs(from)
    const specs = refs.filter((ref) => held.has(ref)).map((ref) => `+${ref}:${ref}`)
    if (specs.length === 0) return
    await this.#queues.run(taskId, async () => {
      // From what it borrows it would take the commits and miss where their history ends.
      await stopBorrowing(repository)
      await git(['fetch', '-q', '--update-shallow', '--no-tags', '--no-write-fetch-head', from, ...specs], {
        repository,
        signal,
      })
    })
  }

  /**
   * A patch that `git apply` takes, as a stream: of all repositories, or of one with paths of its own (`.` is the
   * superproject, else a submodule's path).
   */
  async diff(
    taskId: TaskId,
    range: NamedRange & { submodule?: string | undefined },
    signal?: AbortSignal,
  ): Promise<Readable> {
    return await patchOf(taskId, await this.#existing(taskId), range, signal)
  }

  async diffStat(taskId: TaskId, range: NamedRange, signal?: AbortSignal): Promise<DiffStat> {
    const { repository, from, to } = await resolveRange(taskId, await this.#existing(taskId), range)
    return await diffStat(repository, from, to, signal)
  }

  /** Deleting what is gone is no error. */
  async delete(taskId: TaskId): Promise<void> {
    const path = this.repositoryPath(taskId)
    await this.#queues.run(taskId, async () => {
      for (const name of [path, `${path}.new`]) await rm(name, { recursive: true, force: true, maxRetries: 3 })
    })
  }

  /** Bytes on disk, of one task or of all with their caches. */
  async diskUsage(taskId?: TaskId): Promise<number> {
    if (taskId !== undefined) return await diskBytes(this.repositoryPath(taskId))
    const [tasks, caches] = await Promise.all([
      diskBytes(this.directory),
      diskBytes(join(this.directory, '..', 'cache')),
    ])
    return tasks + caches
  }

  #exists = (taskId: TaskId): Promise<boolean> => exists(this.repositoryPath(taskId))

  async #existing(taskId: TaskId): Promise<string> {
    if (await this.#exists(taskId)) return this.repositoryPath(taskId)
    throw new RclaudeError('not_found', `task ${taskId} has no workspace`)
  }
}
