/** The user's working tree, seen through a copy of its index. */
import { copyFile, stat, utimes } from 'node:fs/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import { type GitConfig, type GitOutput, git, splitNul, textOf } from './git.ts'
import { LFS_OFF } from './lfs.ts'
import type { Place } from './place.ts'
import type { Scratch } from './scratch.ts'
import { except, matching, type Selection } from './selection.ts'

export type Run = (args: string[], input?: Uint8Array, answers?: number[], config?: GitConfig) => Promise<GitOutput>

export const workTreeGit =
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
export async function copyIndex(place: Place, scratch: Scratch): Promise<void> {
  if (place.repository === undefined) return
  const original = await stat(place.repository.index).catch(() => undefined)
  if (original === undefined) return // an empty repository has none
  await copyFile(place.repository.index, scratch.index)
  const seconds = Math.floor(original.mtimeMs / 1_000)
  await utimes(scratch.index, seconds, seconds)
}

/** @throws {RclaudeError} `conflict` in the middle of a merge */
export async function refuseUnmerged(place: Place, run: Run): Promise<void> {
  const paths = new Set(splitNul((await run(['ls-files', '-u', '-z'])).stdout).map((line) => line.split('\t')[1] ?? ''))
  if (paths.size === 0) return
  const some = [...paths].slice(0, 3).map(textOf).join(', ')
  throw new RclaudeError(
    'conflict',
    `${place.root} has ${paths.size} unresolved merge conflict${paths.size === 1 ? '' : 's'} (${some}${paths.size > 3 ? ', ...' : ''}); resolve and git add them, or git merge --abort, then try again`,
  )
}

export interface Untracked {
  /** Neither tracked nor ignored. As byte strings, like all of these. */
  found: string[]
  /** Repositories of their own, with a slash at the end. */
  nested: string[]
  /** Ignored, and named by `include`. */
  included: string[]
}

export async function untrackedIn(selection: Selection, run: Run): Promise<Untracked> {
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
