/** A task's combined trees, taken apart again: what it changed in which of the user's repositories. */

import { RclaudeError } from '../../protocol/errors.ts'
import { entryAt, linkEntry, makeTree, type RunGit, withEntry } from '../../protocol/git-trees.ts'
import { directlyIn, pathWithin, type Submodule } from '../../protocol/parts.ts'
import { commitTree, treeOf } from './commits.ts'
import type { FetchedTask } from './fetch.ts'
import { withPointers } from './pointers.ts'
import { type Scratch, scratchGit } from './scratch.ts'
import { type Repository, separate } from './submodules.ts'

export interface RepositoryTrees {
  /** `''` for the superproject. */
  path: string
  /** As the user sent it, with the commits that the superproject named for submodules. */
  base: string
  /** As the task left it, with the same. */
  theirs: string
}

export interface ChangedRepositories {
  /** The superproject first, each repository before those inside it. */
  repositories: RepositoryTrees[]
  /** Submodules that the task deleted or put something else in the place of. */
  removed: string[]
}

export async function changedRepositories(
  task: FetchedTask,
  scratch: Scratch,
  signal?: AbortSignal,
): Promise<ChangedRepositories> {
  const submodules = task.parts?.submodules ?? []
  const run = scratchGit(scratch, signal)
  const [before, after] = await Promise.all([treeOf(task.snapshot, scratch), treeOf(task.commit, scratch)])
  const found: ChangedRepositories = { repositories: [], removed: [] }
  if (before === after) return found
  const empty = submodules.length === 0 ? '' : await makeTree(run, [])
  const linkOf = (path: string) => submodules.find((submodule) => submodule.path === path)?.link ?? ''
  for (const path of ['', ...submodules.map((submodule) => submodule.path)]) {
    const [was, is] =
      path === '' ? [before, after] : await Promise.all([before, after].map((tree) => treeIn(run, tree, path)))
    if (was === is) continue
    if (is === undefined && was !== undefined) found.removed.push(path)
    if (is === undefined) continue
    const base = await separate(was ?? empty, path, submodules, linkOf, run)
    const theirs = await separate(is, path, submodules, linkOf, run)
    if (base !== theirs) found.repositories.push({ path, base, theirs })
  }
  return found
}

async function treeIn(run: RunGit, tree: string, path: string): Promise<string | undefined> {
  const entry = await entryAt(run, tree, path)
  return entry?.type === 'tree' ? entry.id : undefined
}

/** The commits of one of the user's repositories: what the task made of it, ready for a branch. */
export interface HomeCommits {
  repository: Repository
  base: string | undefined
  snapshot: string
  commit: string
}

/**
 * What a branch should hold where the snapshot was not one plain tree: for each submodule that the task changed a commit on
 * top of what the user had, for the superproject one that names these, and pointers for files that git-lfs keeps. The same
 * task gives the same commits. The superproject comes last.
 */
export async function homeCommits(
  task: FetchedTask,
  repositories: readonly [Repository, ...Repository[]],
  scratch: Scratch,
  signal?: AbortSignal,
): Promise<HomeCommits[]> {
  const [top] = repositories
  const whole = { repository: top, base: task.base, snapshot: task.snapshot, commit: task.commit }
  const run = scratchGit(scratch, signal)
  const tree = await treeOf(task.commit, scratch)
  if (task.parts === undefined && (await withPointers(tree, top.place, scratch, signal)) === tree) return [whole]
  const { submodules = [] } = task.parts ?? {}
  const changed = await changedRepositories(task, scratch, signal)
  const commits: HomeCommits[] = []
  const made = new Map<string, string>()
  const at = new Date(Number((await run(['log', '-1', '--format=%ct', task.snapshot])).trim()) * 1_000)
  for (const submodule of [...submodules].reverse()) {
    const trees = changed.repositories.find(({ path }) => path === submodule.path)
    const inside = directlyIn(submodule.path, submodules).filter(({ path }) => made.has(path))
    if (trees === undefined && inside.length === 0) continue
    const repository = repositories.find(({ path }) => path === submodule.path)
    if (repository === undefined)
      throw new RclaudeError(
        'conflict',
        `the task changed submodule ${submodule.path}, which is not initialised in ${top.place.root}; run git submodule update --init ${submodule.path}, then try again`,
      )
    const home = await commitHome(repository, trees, submodule.snapshot, submodule.head, inside)
    commits.push(home)
    made.set(submodule.path, home.commit)
  }
  const inside = directlyIn('', submodules).filter(({ path }) => made.has(path))
  commits.push(
    await commitHome(
      top,
      changed.repositories.find(({ path }) => path === ''),
      undefined,
      task.base,
      inside,
    ),
  )
  return commits

  async function commitHome(
    repository: Repository,
    trees: RepositoryTrees | undefined,
    sent: string | undefined,
    base: string | undefined,
    inside: readonly Submodule[],
  ): Promise<HomeCommits> {
    const before = trees?.base ?? (await sentTree(repository.path, sent))
    const pointers = (tree: string) => withPointers(tree, repository.place, scratch, signal)
    const was = await pointers(before)
    const snapshot =
      base !== undefined && (await treeOf(base, scratch)) === was
        ? base
        : await commitTree(was, base === undefined ? [] : [base], scratch, at)
    let is = await pointers(trees?.theirs ?? before)
    for (const { path } of inside)
      is = await withEntry(run, is, pathWithin(repository.path, path), linkEntry(made.get(path) ?? ''))
    const commit = is === was ? snapshot : await recommit(task.commit, is, snapshot, run)
    return { repository, base, snapshot, commit }
  }

  async function sentTree(path: string, sent: string | undefined): Promise<string> {
    if (sent !== undefined) return await treeOf(sent, scratch)
    const linkOf = (inner: string) => submodules.find((submodule) => submodule.path === inner)?.link ?? ''
    return await separate(await treeOf(task.snapshot, scratch), path, submodules, linkOf, run)
  }
}

/** The task's commit with another tree and parent. */
async function recommit(commit: string, tree: string, parent: string, run: RunGit): Promise<string> {
  const [headers = '', ...message] = (await run(['cat-file', 'commit', commit])).split('\n\n')
  const kept = headers.split('\n').filter((line) => /^(author|committer) /.test(line))
  const text = [`tree ${tree}`, `parent ${parent}`, ...kept].join('\n')
  const object = Buffer.from([text, ...message].join('\n\n'), 'latin1')
  return (await run(['hash-object', '-t', 'commit', '-w', '--stdin'], object)).trim()
}
