/**
 * The user's working tree as a git tree: tracked changes and untracked files that are not ignored. It works on a copy of
 * the index and writes objects to the scratch repository, so index, status, refs, stash and objects stay as they were.
 */
import { copyFile, stat, utimes } from 'node:fs/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import { bytesOf, complaint, type GitConfig, type GitOutput, git, splitNul, textOf } from './git.ts'
import { forgetPointers, LFS_OFF, lfsFiles, refuseMissingLfs } from './lfs.ts'
import { type Link, linksIn } from './links.ts'
import type { Place } from './place.ts'
import type { Scratch } from './scratch.ts'

export interface Capture {
  tree: string
  /** What was left out, and why, as sentences for people. */
  warnings: string[]
  /** Submodules, whether they are there or not. */
  links: Link[]
  /** Paths, one character per byte, of files that git-lfs keeps and whose content is in the tree. */
  lfs: string[]
}

/** Leaves the matching index in `scratch.index`. */
export async function captureTree(place: Place, scratch: Scratch, signal?: AbortSignal): Promise<Capture> {
  const run: Run = (args, input, answers, config = LFS_OFF) =>
    git(args, {
      config,
      mode: 'user',
      cwd: place.root,
      env: scratch.workEnv,
      signal,
      ...(input !== undefined && { input }),
      ...(answers !== undefined && { answers }),
    })
  await copyIndex(place, scratch)
  await refuseUnmerged(place, run)
  const nested = splitNul((await run(['ls-files', '-o', '-z', '--exclude-standard'])).stdout).filter((path) =>
    path.endsWith('/'),
  )
  await forgetPointers(place.root, run)
  await addAll(run, nested)
  const links = linksIn((await run(['ls-files', '-s', '-z'])).stdout)
  const lfs = await lfsFiles(place.root, run)
  if (lfs.real[0] !== undefined) await refuseMissingLfs(lfs.real[0], run)
  const tree = (await run(['write-tree'])).stdout.trim()
  return {
    tree,
    warnings: [
      ...nested.map((path) => `${textOf(path)} is a git repository of its own and was left out`),
      ...(lfs.pointers === 0 ? [] : [pointersLeft(lfs.pointers)]),
    ],
    links,
    lfs: lfs.real,
  }
}

type Run = (args: string[], input?: Uint8Array, answers?: number[], config?: GitConfig) => Promise<GitOutput>

const pointersLeft = (count: number): string =>
  `${count} git-lfs file${count === 1 ? ' is a pointer here and stays one' : 's are pointers here and stay pointers'}: git lfs pull brings the content`

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

async function refuseUnmerged(place: Place, run: Run): Promise<void> {
  const paths = new Set(splitNul((await run(['ls-files', '-u', '-z'])).stdout).map((line) => line.split('\t')[1] ?? ''))
  if (paths.size === 0) return
  const some = [...paths].slice(0, 3).map(textOf).join(', ')
  throw new RclaudeError(
    'conflict',
    `${place.root} has ${paths.size} unresolved merge conflict${paths.size === 1 ? '' : 's'} (${some}${paths.size > 3 ? ', ...' : ''}); resolve and git add them, or git merge --abort, then try again`,
  )
}

async function addAll(run: Run, nested: readonly string[]): Promise<void> {
  // With a nested repository `add` stops (no commits) or keeps a bare reference (commits): both are left out by name.
  const pathspecs = ['.', ...nested.map((path) => `:(top,exclude,literal)${path.replace(/\/$/, '')}`)]
  const added = await run(
    ['add', '-A', '--sparse', '--pathspec-from-file=-', '--pathspec-file-nul'],
    bytesOf(pathspecs.join('\0')),
    [1, 128],
  )
  // An empty folder has nothing that `.` could match.
  if (added.code === 0 || /pathspec '\.' did not match/.test(added.stderr)) return
  const filter = /clean filter '([^']+)' failed/.exec(added.stderr)?.[1]
  if (filter !== undefined)
    throw new RclaudeError(
      'invalid',
      `a file needs git's filter "${filter}", which failed or is not installed; ${filter === 'lfs' ? 'install git-lfs and run git lfs install' : `set filter.${filter}.clean in your git configuration`}, then try again`,
    )
  throw new RclaudeError('invalid', `git could not read the working tree: ${complaint(added.stderr)}`)
}
