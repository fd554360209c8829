/**
 * The user's working tree as a git tree: tracked changes and untracked files that are not ignored. It works on a copy of
 * the index and writes objects to the scratch repository, so index, status, refs, stash and objects stay as they were.
 */
import { lstat, realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { RclaudeError } from '../../protocol/errors.ts'
import { filterWarnings } from './filters.ts'
import { bytesOf, complaint, splitNul, textOf } from './git.ts'
import { forgetPointers, lfsFiles, refuseMissingLfs } from './lfs.ts'
import { type Link, linksIn } from './links.ts'
import type { Place } from './place.ts'
import { except, matching, type Selection } from './selection.ts'
import type { Run, WorkTree } from './work-tree.ts'

export interface Capture {
  tree: string
  /** What was left out, and why, as sentences for people. */
  warnings: string[]
  /** Submodules, whether they are there or not; those that are excluded stay the name of a commit. */
  links: Link[]
  /** Paths, one character per byte, of files that git-lfs keeps and whose content is in the tree. */
  lfs: string[]
}

/**
 * Leaves the matching index in the scratch's. The user may have been asked since the work tree was opened: what changed
 * meanwhile goes along as it is now.
 * @param also paths (as byte strings) that count if they are there, ignored or not
 */
export async function captureTree(place: Place, workTree: WorkTree, also: readonly string[] = []): Promise<Capture> {
  const { selection, run } = workTree
  const { nested, included } = workTree.untracked
  await forgetPointers(workTree.lfs, run)
  await addAll(run, nested, selection)
  await addIgnored(run, await notCaptured(place, [...included, ...also], run))
  const kept = await keepCommitted(place, selection, run)
  const links = linksIn((await run(['ls-files', '-s', '-z'])).stdout)
  const lfs = await lfsFiles(place.root, run)
  if (lfs.real[0] !== undefined) await refuseMissingLfs(lfs.real[0], run)
  const tree = (await run(['write-tree'])).stdout.trim()
  const excluded = new Set(kept)
  const isLink = new Set(links.map(({ path }) => path))
  return {
    tree,
    warnings: [
      ...nested.map((path) => `${textOf(path)} is a git repository of its own and was left out`),
      ...(lfs.pointers === 0 ? [] : [pointersLeft(lfs.pointers)]),
      ...keptWarning(kept.filter((path) => !isLink.has(path))),
      ...(await filterWarnings(run)),
    ],
    links: links.filter(({ path }) => !excluded.has(path)),
    lfs: lfs.real.filter((path) => !excluded.has(path)),
  }
}

const pointersLeft = (count: number): string =>
  `${count} git-lfs file${count === 1 ? ' is a pointer here and stays one' : 's are pointers here and stay pointers'}: git lfs pull brings the content`

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
 * @returns their paths
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
  return splitNul((await run(['ls-files', '-z', '--', ...matching(exclude)])).stdout)
}

function keptWarning(kept: readonly string[]): string[] {
  const [first] = kept
  if (first === undefined) return []
  const [more, are] = kept.length > 1 ? [` and ${kept.length - 1} more match`, 'are'] : [' matches', 'is']
  return [`${textOf(first)}${more} --exclude and ${are} committed: sent as in HEAD, without your changes`]
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
