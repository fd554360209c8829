/**
 * The user's working tree, seen through a copy of its index: looked at once, for whoever says what would be sent and then for
 * whoever captures it.
 */
import { copyFile, stat, utimes } from 'node:fs/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import { type GitConfig, type GitOutput, git, splitNul, textOf } from './git.ts'
import { LFS_OFF, type LfsFiles, lfsFiles } from './lfs.ts'
import type { Place } from './place.ts'
import type { Scratch } from './scratch.ts'
import { except, matching, type Selection, selectionWithin } from './selection.ts'

export type Run = (args: string[], input?: Uint8Array, answers?: number[], config?: GitConfig) => Promise<GitOutput>

const workTreeGit =
  (place: Place, scratch: Scratch, signal?: AbortSignal): Run =>
  (args, input, answers, config = LFS_OFF) =>
    git(args, {
      config,
      mode: 'user',
      cwd: place.root,
      env: scratch.workEnv,
      signal,
      ...(input !== undefined && { input }),
      ...(answers !== undefined && { answers }),
    })

/**
 * Git trusts the times in an index only for files older than the index itself. The copy's time is therefore the
 * original's, rounded down: more files are read again, none is wrongly trusted.
 */
async function copyIndex(place: Place, scratch: Scratch): Promise<void> {
  if (place.repository === undefined) return
  const original = await stat(place.repository.index).catch(() => undefined)
  if (original === undefined) return // an empty repository has none
  await copyFile(place.repository.index, scratch.index)
  const seconds = Math.floor(original.mtimeMs / 1_000)
  await utimes(scratch.index, seconds, seconds)
}

/** @param entries of `ls-files -s`: MODE ID STAGE, a tab, and the path */
function refuseUnmerged(place: Place, entries: readonly string[]): void {
  const unmerged = entries.filter((entry) => !/^\d+ [0-9a-f]+ 0\t/.test(entry))
  const paths = new Set(unmerged.map((entry) => entry.slice(entry.indexOf('\t') + 1)))
  if (paths.size === 0) return
  const some = [...paths].slice(0, 3).map(textOf).join(', ')
  throw new RclaudeError(
    'conflict',
    `${place.root} has ${paths.size} unresolved merge conflict${paths.size === 1 ? '' : 's'} (${some}${paths.size > 3 ? ', ...' : ''}); resolve and git add them, or git merge --abort, then try again`,
  )
}

export interface WorkTree {
  /** The part of the selection that counts here. */
  selection: Selection
  run: Run
  /** How many files git tracks. */
  tracked: number
  untracked: Untracked
  /** As the user's index knows them. */
  lfs: LfsFiles
}

/** Where a working tree stands: the superproject's path is `''`. */
interface Standing {
  path: string
  place: Place
  scratch: Scratch
}

export type OpenWorkTree = (repository: Standing) => Promise<WorkTree>

/** Each one is opened once, by whoever needs it first. Its index is the scratch's, in which the last one to work captures. */
export function workTrees(selection: Selection, signal?: AbortSignal): OpenWorkTree {
  const opened = new Map<string, Promise<WorkTree>>()
  return (repository) => {
    const { path } = repository
    const known = opened.get(path)
    if (known !== undefined) return known
    const opening = openWorkTree(repository, path === '' ? selection : selectionWithin(selection, path), signal)
    opened.set(path, opening)
    return opening
  }
}

/** @throws {RclaudeError} `conflict` in the middle of a merge */
async function openWorkTree(
  { place, scratch }: Standing,
  selection: Selection,
  signal?: AbortSignal,
): Promise<WorkTree> {
  const run = workTreeGit(place, scratch, signal)
  await copyIndex(place, scratch)
  const entries = splitNul((await run(['ls-files', '-s', '-z'])).stdout)
  refuseUnmerged(place, entries)
  const untracked = await untrackedIn(selection, run)
  return { selection, run, tracked: entries.length, untracked, lfs: await lfsFiles(place.root, run) }
}

export interface Untracked {
  /** Neither tracked nor ignored. As byte strings, like all of these. */
  found: string[]
  /** Repositories of their own, with a slash at the end. */
  nested: string[]
  /** Ignored, and named by `include`. */
  included: string[]
}

async function untrackedIn(selection: Selection, run: Run): Promise<Untracked> {
  const listed = splitNul(
    (await run(['ls-files', '-o', '-z', '--exclude-standard', '--', '.', ...except(selection.exclude)])).stdout,
  )
  const isNested = (path: string) => path.endsWith('/')
  return {
    found: listed.filter((path) => !isNested(path)),
    nested: listed.filter(isNested),
    included: await includedPaths(selection, run),
  }
}

/** Files that git does not track, named by `include`; `exclude` has the last word. */
async function includedPaths({ include, exclude }: Selection, run: Run): Promise<string[]> {
  if (include.length === 0) return []
  const { stdout } = await run(['ls-files', '-o', '-z', '--', ...matching(include), ...except(exclude)])
  return splitNul(stdout).filter((path) => !path.endsWith('/'))
}
