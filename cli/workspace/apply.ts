/**
 * Puts a task's change on the user's working tree, dirty or not.
 *
 * fetch -> capture the working tree W -> merge three ways (snapshot S, W, result R) without touching a file -> list what
 * changes -> refuse as a whole what must not be written -> let git write exactly the difference of W and the merge.
 * The user's index, branches and stash are left alone: the change shows up as unstaged edits. Conflicts are left in the
 * files between git's usual markers. Each submodule is a repository of its own: what is refused in one is refused in all.
 */
import { RclaudeError } from '../../protocol/errors.ts'
import { type Caution, cautionsFor } from './cautions.ts'
import { type Change, changesBetween } from './changes.ts'
import { commitTree } from './commits.ts'
import { findEscapes, type Refusal } from './escapes.ts'
import { type FetchOptions, fetchTask } from './fetch.ts'
import { complaint, git, textOf } from './git.ts'
import { changedRepositories } from './home.ts'
import { LFS_OFF } from './lfs.ts'
import { locate, type Place } from './place.ts'
import type { GatewayRemote } from './remote.ts'
import { openScratch, type Scratch } from './scratch.ts'
import { EVERYTHING } from './selection.ts'
import { type CapturedRepository, captureAll, findRepositories } from './submodules.ts'
import { workTrees } from './work-tree.ts'

export interface ApplyOptions extends FetchOptions {
  /** Say what would happen and touch nothing. */
  check?: boolean
}

export interface AppliedFile {
  path: string
  status: Change['status']
  /** The submodule that it lies in. */
  submodule?: string
}

export interface Applied {
  /** `already_applied`: the working tree holds the change; `no_changes`: the task changed nothing. */
  status: 'applied' | 'conflicts' | 'already_applied' | 'no_changes'
  commit: string
  from: 'result' | 'checkpoint'
  files: AppliedFile[]
  /** Paths that hold conflict markers, or for which one side had to be chosen (`notes` says which). */
  conflicts: string[]
  /** Git's own words about renames and conflicts. */
  notes: string[]
  /** Look at these first. */
  cautions: Caution[]
  warnings: string[]
}

/** What is to happen in one repository. */
interface Plan {
  repository: CapturedRepository
  /** The merge of the user's files and the task's. */
  tree: string
  changes: Change[]
  conflicts: string[]
  notes: string[]
}

/** @throws {RclaudeError} `conflict`, before anything is touched, when a path must not or cannot be written */
export async function applyTask(folder: string, remote: GatewayRemote, options: ApplyOptions = {}): Promise<Applied> {
  const { signal } = options
  const place = await locate(folder, signal)
  await using scratch = await openScratch(place, signal)
  const found = await findRepositories(place, scratch, { signal }) // their objects need not be fetched
  const task = await fetchTask(scratch, remote, options)
  const changed = await changedRepositories(task, scratch, signal)
  // Files that git ignores may have been sent by --include, and come back changed.
  const also = new Map<string, string[]>()
  for (const { path, base, theirs } of changed.repositories)
    also.set(path, changedPaths(await changesBetween(base, theirs, scratch, signal)))
  const open = workTrees(EVERYTHING, signal)
  const { repositories, warnings } = await captureAll(place, scratch, { found, open, also, signal })
  const report = { commit: task.commit, from: task.from, warnings }
  const nothing = { ...report, files: [], conflicts: [], notes: [], cautions: [] }
  warnings.push(...changed.removed.map((path) => removedSubmodule(path, remote.taskId)))
  if (changed.repositories.length === 0) return { ...nothing, status: 'no_changes' }

  const plans: Plan[] = []
  for (const { path, base, theirs } of changed.repositories) {
    const repository = repositories.find((one) => one.path === path)
    if (repository === undefined) throw notHere(path, place)
    const merged = await mergeTrees({ base, mine: repository.tree, theirs, name: remote.taskId }, scratch, signal)
    plans.push({ repository, ...merged, changes: await changesBetween(repository.tree, merged.tree, scratch, signal) })
  }
  const conflicts = plans.flatMap((plan) => plan.conflicts.map((path) => join(plan.repository.path, path)))
  if (conflicts.length === 0 && plans.every((plan) => plan.changes.length === 0))
    return { ...nothing, status: 'already_applied' }
  await refuseEscapes(plans, remote.taskId)
  const cautions = await Promise.all(plans.map((plan) => cautionsFor(plan.changes, plan.repository.scratch)))
  if (plans.length > 1) for (const plan of plans) await writeDifference(plan, ['-n'], signal)
  if (options.check !== true) await writeAll(plans)
  return {
    ...report,
    status: conflicts.length > 0 ? 'conflicts' : 'applied',
    files: plans.flatMap(({ repository, changes }) => changes.map((change) => fileOf(repository.path, change))),
    conflicts,
    notes: plans.flatMap(({ repository, notes }) => notes.map((note) => within(repository.path, note))),
    cautions: plans.flatMap(({ repository }, at) =>
      (cautions[at] ?? []).map((caution) => ({ ...caution, path: join(repository.path, caution.path) })),
    ),
  }
}

/** Of files that were sent; what the task added must not take the place of an ignored file. */
const changedPaths = (changes: readonly Change[]): string[] =>
  changes.filter(({ status }) => status !== 'A').map(({ path }) => path)

const fileOf = (submodule: string, { path, status }: Change): AppliedFile => ({
  path: join(submodule, textOf(path)),
  status,
  ...(submodule !== '' && { submodule }),
})

const join = (submodule: string, path: string): string => (submodule === '' ? path : `${submodule}/${path}`)
const within = (submodule: string, text: string): string => (submodule === '' ? text : `${submodule}: ${text}`)

const removedSubmodule = (path: string, taskId: string): string =>
  `${taskId} removed submodule ${path}, which was left as it is here: git rm ${path} removes it`

const notHere = (path: string, place: Place) =>
  new RclaudeError(
    'conflict',
    `nothing was applied: the task changed submodule ${path}, which is not initialised in ${place.root}; run git submodule update --init ${path}, then try again`,
  )

interface Sides {
  base: string
  mine: string
  theirs: string
  name: string
}

/** Git merges commits, so each tree is dressed as one; the names of the refs are what conflict markers show. */
async function mergeTrees(sides: Sides, scratch: Scratch, signal?: AbortSignal) {
  const at = new Date(0)
  const base = await commitTree(sides.base, [], scratch, at)
  const own = { mode: 'own', cwd: scratch.directory, env: { GIT_DIR: scratch.gitDir }, signal } as const
  const names = { mine: 'yours', theirs: sides.name }
  for (const side of ['mine', 'theirs'] as const)
    await git(['update-ref', `refs/heads/${names[side]}`, await commitTree(sides[side], [base], scratch, at)], own)
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

async function refuseEscapes(plans: readonly Plan[], taskId: string): Promise<void> {
  const refusals: Refusal[] = []
  for (const { repository, changes } of plans)
    for (const { path, why } of await findEscapes(repository.place.root, changes, repository.scratch))
      refusals.push({ path: join(repository.path, path), why })
  if (refusals.length === 0) return
  const some = refusals.slice(0, 5).map(({ path, why }) => `${path} ${why}`)
  const more = refusals.length > some.length ? `; and ${refusals.length - some.length} more` : ''
  throw new RclaudeError(
    'conflict',
    `nothing was applied: ${some.join('; ')}${more}. Look at it with rclaude diff ${taskId}, or take it as a branch with rclaude pull ${taskId}`,
  )
}

/** All were tried before, so what fails now is a full disk or a file that changes under us: then it is said how far it came. */
async function writeAll(plans: readonly Plan[]): Promise<void> {
  const written: string[] = []
  for (const plan of plans)
    try {
      await writeDifference(plan, [])
      written.push(plan.repository.path === '' ? 'the superproject' : plan.repository.path)
    } catch (error) {
      if (written.length === 0 || !(error instanceof RclaudeError)) throw error
      throw new RclaudeError(
        error.code,
        `${error.message}; ${written.join(', ')} has the change already, the rest has not`,
        {
          cause: error,
        },
      )
    }
}

/** The captured index matches the files, so git checks each path against it and refuses as a whole before writing. */
async function writeDifference(
  { repository, tree }: Plan,
  options: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  const { place, scratch } = repository
  const written = await git(['read-tree', ...options, '-m', '-u', repository.tree, tree], {
    mode: 'user',
    cwd: place.root,
    env: scratch.workEnv,
    // A changed file outside the sparse set must still arrive, and one that git-lfs keeps as what it is.
    config: [['core.sparseCheckout', 'false'], ['submodule.recurse', 'false'], ...LFS_OFF],
    answers: [1, 128],
    signal,
  })
  if (written.code !== 0)
    throw new RclaudeError('conflict', `git did not write the change to ${place.root}: ${complaint(written.stderr)}`)
}
