/**
 * Submodules in the workspace. What is fetched and saved is one combined tree with every file in place
 * (docs/decisions/010); here it is split for the checkout: each submodule becomes a repository of its own with history, and
 * the superproject names its commit. Nothing is ever fetched from a URL of `.gitmodules`.
 */
import { join } from 'node:path'
import { RclaudeError } from '../../protocol/errors.ts'
import { entryAt, linkEntry, makeTree, type RunGit, withEntry } from '../../protocol/git-trees.ts'
import { directlyIn, PARTS_FILE, type Parts, pathWithin, readParts, type Submodule } from '../../protocol/parts.ts'
import { pathsAmong } from './among.ts'
import { FETCH, type Repositories } from './repositories.ts'

/** One repository of the checkout, split off. */
export interface Split {
  /** `''` for the superproject. */
  path: string
  /** What is checked out there. */
  commit: string
  /** Its files alone, without the commits of repositories inside it. */
  files: string
}

export interface SplitOptions {
  /** The combined tree. */
  tree: string
  submodules: readonly Submodule[]
  /** Makes the commit of the repository at `path`, or gives one that has this tree. */
  commit(path: string, tree: string): Promise<string>
  run: RunGit
}

/** The superproject first, each repository before those inside it. */
export async function splitCheckout({ tree, submodules, commit, run }: SplitOptions): Promise<Split[]> {
  const commits = new Map<string, string>()
  const splits: Split[] = []
  for (const path of [...submodules.map((submodule) => submodule.path), ''].sort().reverse()) {
    const found = path === '' ? undefined : await entryAt(run, tree, path)
    let files = path === '' ? tree : found?.type === 'tree' ? found.id : await makeTree(run, [])
    let linked = files
    for (const inner of directlyIn(path, submodules)) {
      const within = pathWithin(path, inner.path)
      files = await withEntry(run, files, within, undefined)
      linked = await withEntry(run, linked, within, linkEntry(commits.get(inner.path) ?? inner.snapshot))
    }
    commits.set(path, await commit(path, linked))
    splits.unshift({ path, commit: commits.get(path) ?? '', files })
  }
  return splits
}

export async function partsOf(run: RunGit, commit: string): Promise<Parts> {
  try {
    return readParts(Buffer.from(await run(['cat-file', 'blob', `${commit}:${PARTS_FILE}`]), 'latin1').toString())
  } catch (error) {
    throw new RclaudeError('invalid', `the workspace's ${PARTS_FILE} does not describe a snapshot`, { cause: error })
  }
}

/** As the work user, into the empty folder that the superproject's checkout made. */
export async function checkOutSubmodule(
  repositories: Repositories,
  split: Split,
  from: string,
  config: readonly (readonly [string, string])[],
  signal?: AbortSignal,
): Promise<void> {
  const folder = join(repositories.work, split.path)
  await mustBeFolder(repositories, split.path)
  const inside = { env: insideOf(folder), signal }
  const format = split.commit.length === 64 ? 'sha256' : 'sha1'
  await repositories.inWork(['init', '-q', '--template=', '-b', 'work', `--object-format=${format}`], inside)
  await repositories.inWork(
    [...FETCH, '--update-shallow', '--update-head-ok', repositories.daemonGit, `+${from}:refs/heads/work`],
    { ...inside, transports: ['file'] },
  )
  await repositories.inWork(['reset', '-q', '--hard'], inside)
  for (const [key, value] of config) await repositories.inWork(['config', key, value], inside)
  await withoutLfs(repositories, inside.env)
}

/**
 * The content of git-lfs files comes as it is, and so it must stay: a git-lfs that is installed here would show every one
 * as changed.
 */
export async function withoutLfs(repositories: Repositories, env: Record<string, string> = {}): Promise<void> {
  if ((await repositories.inWork(['ls-files', '-z', ':(top,attr:filter=lfs)'], { env })).stdout === '') return
  for (const name of ['clean', 'smudge', 'process'])
    await repositories.inWork(['config', `filter.lfs.${name}`, ''], { env })
  await repositories.inWork(['config', 'filter.lfs.required', 'false'], { env })
}

/** For git in the coding agent's repository below the workspace. */
export const insideOf = (folder: string): Record<string, string> => ({
  GIT_DIR: join(folder, '.git'),
  GIT_WORK_TREE: folder,
})

/** No link leads out: the files come from a repository that nobody trusts. */
async function mustBeFolder(repositories: Repositories, path: string): Promise<void> {
  if (!(await isFolderBelow(repositories, path)))
    throw new RclaudeError('invalid', `submodule ${path} cannot be checked out: there is no folder for it`)
}

/** Each step of the way from the workspace is a real directory. */
export async function isFolderBelow({ user, work }: Repositories, path: string): Promise<boolean> {
  return (await pathsAmong(user, 'folder', work, [Buffer.from(path).toString('latin1')])).length > 0
}
