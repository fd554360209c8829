/**
 * The user's working tree as a git tree: tracked changes and untracked files that are not ignored. It works on a copy of
 * the index and writes objects to the scratch repository, so index, status, refs, stash and objects stay as they were.
 */
import { copyFile, lstat, realpath, stat, utimes } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { RclaudeError } from '../../protocol/errors.ts'
import { bytesOf, complaint, type GitOutput, git, splitNul, textOf } from './git.ts'
import type { Place } from './place.ts'
import type { Scratch } from './scratch.ts'
import { except, matching, type Selection } from './selection.ts'

export interface CaptureOptions {
  selection: Selection
  /** Told of the files that git does not track (as byte strings) before anything is read; may throw. */
  look?: ((untracked: readonly string[]) => Promise<void>) | undefined
  /** Paths (as byte strings) that count if they are there, ignored or not. */
  also?: readonly string[]
  signal?: AbortSignal | undefined
}

export interface Capture {
  tree: string
  /** What was left out, and why, as sentences for people. */
  warnings: string[]
}

/** Leaves the matching index in `scratch.index`. */
export async function captureTree(place: Place, scratch: Scratch, options: CaptureOptions): Promise<Capture> {
  const { selection, look, signal } = options
  const run = (args: string[], input?: Uint8Array, answers?: number[]): Promise<GitOutput> =>
    git(args, {
      mode: 'user',
      cwd: place.root,
      env: scratch.workEnv,
      signal,
      ...(input !== undefined && { input }),
      ...(answers !== undefined && { answers }),
    })
  await copyIndex(place, scratch)
  await refuseUnmerged(place, run)
  const found = splitNul(
    (await run(['ls-files', '-o', '-z', '--exclude-standard', '--', '.', ...except(selection.exclude)])).stdout,
  )
  const nested = found.filter((path) => path.endsWith('/'))
  const included = await includedPaths(selection, run)
  await look?.([...new Set([...found.filter((path) => !path.endsWith('/')), ...included])])
  await addAll(run, nested, selection)
  await addIgnored(run, included)
  await addIgnored(run, await notCaptured(place, options.also ?? [], run))
  const kept = await keepCommitted(place, selection, run)
  const submodules = splitNul((await run(['ls-files', '-s', '-z'])).stdout)
    .filter((line) => line.startsWith('160000 '))
    .map((line) => line.slice(line.indexOf('\t') + 1))
  const tree = (await run(['write-tree'])).stdout.trim()
  return {
    tree,
    warnings: [
      ...nested.map((path) => `${textOf(path)} is a git repository of its own and was left out`),
      ...submodules.map((path) => `${textOf(path)} is a submodule: its commit is named, its files were left out`),
      ...kept,
    ],
  }
}

type Run = (args: string[], input?: Uint8Array, answers?: number[]) => Promise<GitOutput>

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

/** Files that git does not track, named by `include`; `exclude` has the last word. */
async function includedPaths({ include, exclude }: Selection, run: Run): Promise<string[]> {
  if (include.length === 0) return []
  const { stdout } = await run(['ls-files', '-o', '-z', '--', ...matching(include), ...except(exclude)])
  return splitNul(stdout).filter((path) => !path.endsWith('/'))
}

async function addIgnored(run: Run, paths: readonly string[]): Promise<void> {
  if (paths.length === 0) return
  const pathspecs = paths.map((path) => `:(top,literal)${path}`)
  await run(['add', '-f', '--sparse', '--pathspec-from-file=-', '--pathspec-file-nul'], bytesOf(pathspecs.join('\0')))
}

/** One behind a link is none of this working tree: git refuses it, and so does whoever writes there later. */
async function notCaptured(place: Place, paths: readonly string[], run: Run): Promise<string[]> {
  if (paths.length === 0) return []
  const captured = new Set(splitNul((await run(['ls-files', '-z'])).stdout))
  const found: string[] = []
  for (const path of paths) {
    if (captured.has(path)) continue
    const parent = join(place.root, dirname(textOf(path)))
    if ((await realpath(parent).catch(() => undefined)) !== parent) continue
    const stat = await lstat(Buffer.concat([Buffer.from(`${place.root}/`), bytesOf(path)])).catch(() => undefined)
    if (stat?.isFile() === true || stat?.isSymbolicLink() === true) found.push(path)
  }
  return found
}

/**
 * What is committed and matches `exclude` goes along as it is in HEAD: history holds it anyway. Only the user's changes to it
 * stay behind, and for that the index, which may hold some that are staged, gets back what HEAD has.
 */
async function keepCommitted(place: Place, { exclude }: Selection, run: Run): Promise<string[]> {
  if (exclude.length === 0) return []
  const head =
    place.repository?.head ?? (await run(['hash-object', '-t', 'tree', '--stdin'], bytesOf(''))).stdout.trim()
  const raw = ['diff-index', '--cached', '--raw', '--no-renames', '--full-index', '-z']
  const staged = splitNul((await run([...raw, head, '--', ...matching(exclude)])).stdout)
  let restored = ''
  // Pairs of `:MODE MODE ID ID STATUS` and the path; a mode of zero takes the path out.
  for (let at = 0; at + 1 < staged.length; at += 2) {
    const [mode, , id] = (staged[at] ?? '').slice(1).split(' ')
    restored += `${mode} ${id}\t${staged[at + 1]}\0`
  }
  if (restored !== '') await run(['update-index', '-z', '--index-info'], bytesOf(restored))
  const left = splitNul((await run(['ls-files', '-z', '--', ...matching(exclude)])).stdout)
  const [first] = left
  if (first === undefined) return []
  return [
    `${textOf(first)}${left.length > 1 ? ` and ${left.length - 1} more match` : ' matches'} --exclude and ${left.length > 1 ? 'are' : 'is'} committed: sent as in HEAD, without your changes`,
  ]
}

async function addAll(run: Run, nested: readonly string[], { exclude }: Selection): Promise<void> {
  // With a nested repository `add` stops (no commits) or keeps a bare reference (commits): both are left out by name.
  const pathspecs = [
    '.',
    ...nested.map((path) => `:(top,exclude,literal)${path.replace(/\/$/, '')}`),
    ...except(exclude),
  ]
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
