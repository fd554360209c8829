/**
 * The snapshot: one commit that is the user's working tree as it stands.
 *
 * locate the work tree -> open a scratch repository that borrows its objects -> cut history at a bounded depth -> capture the
 * tree through a copied index -> it is HEAD itself when nothing differs, else a new commit on top of HEAD.
 * The scratch repository then holds what `push.ts` sends; disposing of the snapshot removes it.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { captureTree } from './capture.ts'
import { git } from './git.ts'
import { DEFAULT_DEPTH, historyBoundary } from './history.ts'
import { locate, type ObjectFormat, type Place } from './place.ts'
import { openScratch, type Scratch } from './scratch.ts'
import { EVERYTHING, type Selection } from './selection.ts'
import { type Survey, survey } from './survey.ts'

export interface SnapshotOptions {
  /** Commits of history to send along; Infinity for all. */
  depth?: number
  selection?: Selection
  /** Shown what would be sent before anything is read or copied; it throws to stop that. */
  look?: (survey: Survey) => Promise<void>
  /** A commit of the project that the gateway has, which `look` need not count again. */
  sentBefore?: (project: string) => Promise<string | undefined>
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
    // The history of a partial clone is not here: its newest commit is sent alone.
    const depth = place.repository?.partial === true ? 1 : (options.depth ?? DEFAULT_DEPTH)
    const boundary = await historyBoundary(place, depth, signal)
    await writeFile(join(scratch.gitDir, 'shallow'), boundary.map((id) => `${id}\n`).join(''))
    const project = await projectOf(place, depth)
    const { selection = EVERYTHING, look } = options
    const lookAt = async (untracked: readonly string[]) => {
      const sent = await options.sentBefore?.(project)
      await look?.(await survey({ place, scratch, project, untracked, selection, sent, signal }))
    }
    const { tree, warnings } = await captureTree(place, scratch, {
      selection,
      signal,
      ...(look !== undefined && { look: lookAt }),
    })
    const base = place.repository?.head
    const unchanged = base !== undefined && (await treeOf(base, scratch)) === tree
    const commit = unchanged ? base : await commitTree(tree, base, scratch, options.now?.() ?? new Date())
    return {
      root: place.root,
      repository: place.repository !== undefined,
      objectFormat: place.objectFormat,
      commit,
      base,
      dirty: !unchanged,
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

/** The commits that only say "this tree" carry no one's name. */
export function commitTree(tree: string, parent: string | undefined, scratch: Scratch, at: Date): Promise<string> {
  const who = { NAME: 'rclaude', EMAIL: 'rclaude@localhost', DATE: `@${Math.floor(at.getTime() / 1_000)} +0000` }
  const env = Object.fromEntries(
    Object.entries(who).flatMap(([key, value]) => [
      [`GIT_AUTHOR_${key}`, value],
      [`GIT_COMMITTER_${key}`, value],
    ]),
  )
  const args = [
    'commit-tree',
    '-m',
    'Snapshot of the working tree',
    ...(parent === undefined ? [] : ['-p', parent]),
    tree,
  ]
  return inScratch(args, scratch, env)
}

export const treeOf = (commit: string, scratch: Scratch): Promise<string> =>
  inScratch(['rev-parse', '--verify', `${commit}^{tree}`], scratch)

async function inScratch(args: string[], scratch: Scratch, env: Record<string, string> = {}): Promise<string> {
  const { stdout } = await git(args, {
    mode: 'own',
    cwd: scratch.directory,
    env: { GIT_DIR: scratch.gitDir, ...env },
  })
  return stdout.trim()
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
