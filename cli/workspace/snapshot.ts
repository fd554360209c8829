/**
 * The snapshot: one commit that is the user's working tree as it stands.
 *
 * locate the work tree -> open a scratch repository that borrows its objects -> cut history at a bounded depth -> show what would
 * be sent -> capture the tree through a copied index, and that of each submodule -> it is HEAD itself when nothing differs,
 * else a new commit on top of HEAD.
 * The scratch repository then holds what `push.ts` sends; disposing of the snapshot removes it.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { commitTree, treeOf } from './commits.ts'
import { git } from './git.ts'
import { DEFAULT_DEPTH, historyBoundary } from './history.ts'
import { refuseMissingObjects } from './partial.ts'
import { commitParts } from './parts.ts'
import { locate, type ObjectFormat, type Place } from './place.ts'
import { openScratch, type Scratch } from './scratch.ts'
import { EVERYTHING, type Selection } from './selection.ts'
import { captureAll, findRepositories } from './submodules.ts'
import { type Survey, survey } from './survey.ts'
import { workTrees } from './work-tree.ts'

export interface SnapshotOptions {
  /** Commits of history to send along; Infinity for all. */
  depth?: number
  selection?: Selection
  /** Shown what would be sent before anything is read or copied; it throws to stop that. */
  look?: (survey: Survey) => Promise<void>
  /** Commits of the project that the gateway has, which `look` need not count again. */
  sentBefore?: (project: string) => Promise<readonly string[] | undefined>
  now?: () => Date
  signal?: AbortSignal | undefined
}

export interface Snapshot extends AsyncDisposable {
  root: string
  /** False in a folder that is no git repository. */
  repository: boolean
  objectFormat: ObjectFormat
  /** The commit to send. */
  commit: string
  /** The user's HEAD, when there is one. */
  base: string | undefined
  /** The same of all repositories, submodules included. */
  heads: string[]
  /** What the tree cannot say: submodules and the like; see protocol/parts.ts. */
  parts: string | undefined
  /** The working tree differs from HEAD (or there is no HEAD). */
  dirty: boolean
  /** Same for every snapshot of this project: what was sent for one need not be sent again for the next. */
  project: string
  /** What was left out, as sentences for people. */
  warnings: string[]
  scratch: Scratch
}

/** Whoever takes it disposes of it. @throws {RclaudeError} when the working tree cannot be captured */
export async function takeSnapshot(folder: string, options: SnapshotOptions = {}): Promise<Snapshot> {
  const { signal } = options
  const place = await locate(folder, signal)
  const scratch = await openScratch(place, signal)
  try {
    const { selection = EVERYTHING, look } = options
    const found = await findRepositories(place, scratch, { selection, signal })
    for (const one of found) await refuseMissingObjects(one.place, signal)
    // The history of a partial clone is not here: its newest commit is sent alone.
    const depthOf = (one: Place) => (one.repository?.partial === true ? 1 : (options.depth ?? DEFAULT_DEPTH))
    const boundary = new Set<string>()
    for (const one of found)
      for (const id of await historyBoundary(one.place, depthOf(one.place), signal)) boundary.add(id)
    const cutHistory = () => writeFile(join(scratch.gitDir, 'shallow'), [...boundary].map((id) => `${id}\n`).join(''))
    await cutHistory()
    const project = await projectOf(place, depthOf(place))
    const open = workTrees(selection, signal)
    if (look !== undefined) {
      const sent = await options.sentBefore?.(project)
      await look(await survey({ repositories: found, project, open, sent, signal }))
    }
    const { tree, repositories, warnings } = await captureAll(place, scratch, { found, open, signal })
    await cutHistory() // where submodules end for the user was noted there meanwhile
    const base = place.repository?.head
    const at = options.now?.() ?? new Date()
    const unchanged = base !== undefined && (await treeOf(base, scratch)) === tree
    const parts = await commitParts(repositories, at, signal)
    const parents = [base, parts?.commit].filter((id) => id !== undefined)
    const commit = unchanged ? base : await commitTree(tree, parents, scratch, at)
    return {
      root: place.root,
      repository: place.repository !== undefined,
      objectFormat: place.objectFormat,
      commit,
      base,
      heads: found.flatMap((one) => one.place.repository?.head ?? []),
      parts: parts?.commit,
      dirty: !unchanged && (parts?.dirty ?? true),
      project,
      warnings,
      scratch,
      [Symbol.asyncDispose]: () => scratch[Symbol.asyncDispose](),
    }
  } catch (error) {
    await scratch[Symbol.asyncDispose]()
    throw error
  }
}

/**
 * By its origin, so that two clones are one project; without one, by where it lies. What was sent with another depth is
 * another project: it would cut this one's history short. Hashed, because URLs may hold names.
 */
async function projectOf(place: Place, depth: number): Promise<string> {
  const origin = await git(['config', '--get', 'remote.origin.url'], {
    mode: 'user',
    cwd: place.root,
    answers: [1, 128],
  })
  const url = origin.stdout.trim().replace(/^([a-z+]+:\/\/)[^/@]*@/, '$1')
  const name = place.repository !== undefined && url !== '' ? url : `${hostname()}:${place.root}`
  const isShallow = place.repository !== undefined && existsSync(place.repository.shallow)
  const kind = `${place.objectFormat} ${depth}${isShallow ? ' shallow' : ''}`
  return createHash('sha256').update(`${kind} ${name}`).digest('hex').slice(0, 40)
}
