/**
 * Puts a task's change on the user's working tree, dirty or not.
 *
 * fetch -> capture the working tree W -> merge three ways (snapshot S, W, result R) without touching a file -> list what
 * changes -> refuse as a whole what must not be written -> let git write exactly the difference of W and the merge.
 * The user's index, branches and stash are left alone: the change shows up as unstaged edits. Conflicts are left in the
 * files between git's usual markers.
 */
import { RclaudeError } from '../../protocol/errors.ts'
import { captureTree } from './capture.ts'
import { type Caution, cautionsFor } from './cautions.ts'
import { type Change, changesBetween } from './changes.ts'
import { findEscapes } from './escapes.ts'
import { type FetchOptions, fetchTask } from './fetch.ts'
import { complaint, git, textOf } from './git.ts'
import { locate, type Place } from './place.ts'
import type { GatewayRemote } from './remote.ts'
import { openScratch, type Scratch } from './scratch.ts'
import { EVERYTHING } from './selection.ts'
import { commitTree, treeOf } from './snapshot.ts'

export interface ApplyOptions extends FetchOptions {
  /** Say what would happen and touch nothing. */
  check?: boolean
}

export interface Applied {
  /** `already_applied`: the working tree holds the change; `no_changes`: the task changed nothing. */
  status: 'applied' | 'conflicts' | 'already_applied' | 'no_changes'
  commit: string
  from: 'result' | 'checkpoint'
  files: { path: string; status: Change['status'] }[]
  /** Paths that hold conflict markers, or for which one side had to be chosen (`notes` says which). */
  conflicts: string[]
  /** Git's own words about renames and conflicts. */
  notes: string[]
  /** Look at these first. */
  cautions: Caution[]
  warnings: string[]
}

/** @throws {RclaudeError} `conflict`, before anything is touched, when a path must not or cannot be written */
export async function applyTask(folder: string, remote: GatewayRemote, options: ApplyOptions = {}): Promise<Applied> {
  const { signal } = options
  const place = await locate(folder, signal)
  await using scratch = await openScratch(place, signal)
  const task = await fetchTask(scratch, remote, options)
  const [snapshotTree, resultTree] = await Promise.all([treeOf(task.snapshot, scratch), treeOf(task.commit, scratch)])
  // Files that git ignores may have been sent by --include, and come back changed.
  const also = (await changesBetween(snapshotTree, resultTree, scratch, signal))
    .filter(({ status }) => status !== 'A')
    .map(({ path }) => path)
  const { tree: mine, warnings } = await captureTree(place, scratch, { selection: EVERYTHING, also, signal })
  const report = { commit: task.commit, from: task.from, warnings }
  const nothing = { ...report, files: [], conflicts: [], notes: [], cautions: [] }
  if (snapshotTree === resultTree) return { ...nothing, status: 'no_changes' }

  const merged = await mergeTrees(
    { base: snapshotTree, mine, theirs: resultTree, name: remote.taskId },
    scratch,
    signal,
  )
  const changes = await changesBetween(mine, merged.tree, scratch, signal)
  if (changes.length === 0 && merged.conflicts.length === 0) return { ...nothing, status: 'already_applied' }
  await refuseEscapes(place, changes, scratch, remote.taskId)
  const cautions = await cautionsFor(changes, scratch)
  if (options.check !== true) await writeDifference(place, scratch, mine, merged.tree, signal)
  return {
    ...report,
    status: merged.conflicts.length > 0 ? 'conflicts' : 'applied',
    files: changes.map(({ path, status }) => ({ path: textOf(path), status })),
    conflicts: merged.conflicts,
    notes: merged.notes,
    cautions,
  }
}

interface Sides {
  base: string
  mine: string
  theirs: string
  name: string
}

/** Git merges commits, so each tree is dressed as one; the names of the refs are what conflict markers show. */
async function mergeTrees(sides: Sides, scratch: Scratch, signal?: AbortSignal) {
  const at = new Date(0)
  const base = await commitTree(sides.base, undefined, scratch, at)
  const own = { mode: 'own', cwd: scratch.directory, env: { GIT_DIR: scratch.gitDir }, signal } as const
  const names = { mine: 'yours', theirs: sides.name }
  for (const side of ['mine', 'theirs'] as const)
    await git(['update-ref', `refs/heads/${names[side]}`, await commitTree(sides[side], base, scratch, at)], own)
  const merge = await git(['merge-tree', '--write-tree', '-z', '--name-only', '--messages', names.mine, names.theirs], {
    ...own,
    answers: [1],
    config: [['merge.conflictStyle', 'merge']],
  })
  // tree NUL (conflicted path NUL)* NUL (count NUL path* type NUL message NUL)*
  const fields = merge.stdout.split('\0')
  const end = fields.indexOf('', 1)
  const conflicts = end < 0 ? [] : fields.slice(1, end).map(textOf)
  return { tree: fields[0] ?? '', conflicts, notes: end < 0 ? [] : readNotes(fields.slice(end + 1)) }
}

function readNotes(fields: readonly string[]): string[] {
  const notes: string[] = []
  for (let at = 0; at < fields.length; ) {
    const paths = Number(fields[at])
    const message = fields[at + paths + 2]
    if (!Number.isInteger(paths) || message === undefined) break
    if (/CONFLICT|warning|Cannot/.test(message)) notes.push(textOf(message).trim())
    at += paths + 3
  }
  return notes
}

async function refuseEscapes(
  place: Place,
  changes: readonly Change[],
  scratch: Scratch,
  taskId: string,
): Promise<void> {
  const refusals = await findEscapes(place.root, changes, scratch)
  if (refusals.length === 0) return
  const some = refusals.slice(0, 5).map(({ path, why }) => `${path} ${why}`)
  const more = refusals.length > some.length ? `; and ${refusals.length - some.length} more` : ''
  throw new RclaudeError(
    'conflict',
    `nothing was applied: ${some.join('; ')}${more}. Look at it with rclaude diff ${taskId}, or take it as a branch with rclaude pull ${taskId}`,
  )
}

/** The captured index matches the files, so git checks each path against it and refuses as a whole before writing. */
async function writeDifference(
  place: Place,
  scratch: Scratch,
  mine: string,
  merged: string,
  signal?: AbortSignal,
): Promise<void> {
  const written = await git(['read-tree', '-m', '-u', mine, merged], {
    mode: 'user',
    cwd: place.root,
    env: scratch.workEnv,
    config: [['core.sparseCheckout', 'false']], // a changed file outside the sparse set must still arrive
    answers: [1, 128],
    signal,
  })
  if (written.code !== 0)
    throw new RclaudeError('conflict', `git did not write the change to ${place.root}: ${complaint(written.stderr)}`)
}
