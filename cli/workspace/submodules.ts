/**
 * The submodules of the user's working tree: where they are, and each captured like the superproject, with its uncommitted
 * and unpushed work. Their files then stand in one combined tree (docs/decisions/010). Nothing is fetched: a submodule that is
 * not initialised here stays the name of a commit.
 */
import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { RclaudeError } from '../../protocol/errors.ts'
import { linkEntry, makeTree, type RunGit, treeEntry, withEntry } from '../../protocol/git-trees.ts'
import { directlyIn, MAX_SUBMODULES, pathWithin, SubmodulePath } from '../../protocol/parts.ts'
import { type Capture, captureTree } from './capture.ts'
import { bytesOf, git, textOf } from './git.ts'
import { type Link, linksIn } from './links.ts'
import { locate, type Place } from './place.ts'
import { lend, type Scratch, scratchGit } from './scratch.ts'
import { EVERYTHING, except, type Selection, selectionWithin } from './selection.ts'
import type { OpenWorkTree } from './work-tree.ts'

/** One repository of the user's: the superproject (`''`) or a submodule. */
export interface Repository {
  /** From the superproject's folder. */
  path: string
  place: Place
  /** The shared objects, with an index of its own. */
  scratch: Scratch
  /** The commit that its superproject names. */
  link: string
}

export interface CapturedRepository extends Repository, Capture {}

export interface Combined {
  /** All files in place. */
  tree: string
  /** The superproject first, each repository before those inside it. */
  repositories: [CapturedRepository, ...CapturedRepository[]]
  warnings: string[]
}

export interface CaptureAllOptions {
  /** As `findRepositories` gave them: what it located is not located again. */
  found: readonly Repository[]
  open: OpenWorkTree
  /** By repository: paths that count if they are there, ignored or not. */
  also?: ReadonlyMap<string, readonly string[]>
  signal?: AbortSignal | undefined
}

export async function captureAll(place: Place, scratch: Scratch, options: CaptureAllOptions): Promise<Combined> {
  const { found, open, also, signal } = options
  const repositories: CapturedRepository[] = []
  const warnings: string[] = []
  const visit = async (repository: Repository): Promise<void> => {
    const captured = await captureTree(repository.place, await open(repository), also?.get(repository.path))
    repositories.push({ ...repository, ...captured })
    warnings.push(...captured.warnings.map((text) => (repository.path === '' ? text : `${repository.path}: ${text}`)))
    for (const link of captured.links) {
      const known = isUtf8(link) ? found.find(({ path }) => path === pathOf(repository, link)) : undefined
      const inner =
        known === undefined
          ? await submoduleAt(repository, link, repositories.length, `index-new-${repositories.length}`, signal)
          : { ...known, link: link.commit }
      if (typeof inner === 'string') warnings.push(inner)
      else await visit(inner)
    }
  }
  await visit({ path: '', place, scratch, link: '' })
  const [top, ...submodules] = repositories
  if (top === undefined) throw new Error('nothing was captured')
  submodules.sort((a, b) => (a.path < b.path ? -1 : 1))
  return { tree: await combine([top, ...submodules], scratch, signal), repositories: [top, ...submodules], warnings }
}

/** Those that are there, without a look at their files. */
export async function findRepositories(
  place: Place,
  scratch: Scratch,
  { selection = EVERYTHING, signal }: { selection?: Selection; signal?: AbortSignal | undefined } = {},
): Promise<[Repository, ...Repository[]]> {
  const top: Repository = { path: '', place, scratch, link: '' }
  const found: Repository[] = []
  const visit = async (repository: Repository): Promise<void> => {
    found.push(repository)
    const { root, repository: user } = repository.place
    if (user === undefined) return
    const { exclude } = repository.path === '' ? selection : selectionWithin(selection, repository.path)
    const listed = await git(['ls-files', '-s', '-z', '--', '.', ...except(exclude)], {
      mode: 'user',
      cwd: root,
      env: { GIT_DIR: user.gitDir },
      signal,
    })
    for (const link of linksIn(listed.stdout)) {
      const inner = await submoduleAt(repository, link, found.length, `index-${found.length}`, signal)
      if (typeof inner !== 'string') await visit(inner)
    }
  }
  await visit(top)
  return [top, ...found.slice(1).sort((a, b) => (a.path < b.path ? -1 : 1))]
}

const pathOf = ({ path }: Repository, link: Link): string =>
  path === '' ? textOf(link.path) : `${path}/${textOf(link.path)}`

const isUtf8 = (link: Link): boolean => bytesOf(link.path).equals(Buffer.from(textOf(link.path)))

/** A sentence for people when it has to stay behind. */
async function submoduleAt(
  parent: Repository,
  link: Link,
  count: number,
  index: string,
  signal?: AbortSignal,
): Promise<Repository | string> {
  const path = pathOf(parent, link)
  const left = (why: string) => `${path} is a submodule ${why}: its commit is named, its files were left out`
  if (!isUtf8(link)) return left('whose name is no UTF-8')
  if (!SubmodulePath.safeParse(path).success) return left('with an impossible path')
  if (count > MAX_SUBMODULES) return left(`beyond the ${MAX_SUBMODULES} that are sent`)
  if (!(await isRepositoryBelow(parent.place.root, textOf(link.path))))
    return left('that is not initialised here (git submodule update --init)')
  const folder = join(parent.place.root, textOf(link.path))
  try {
    const place = await locate(folder, signal)
    if (place.root !== folder || place.repository === undefined) return left('whose .git leads elsewhere')
    if (place.repository.head === undefined) return left('without a commit')
    if (place.objectFormat !== parent.place.objectFormat) return left('of another object format')
    return { path, place, scratch: await lend(parent.scratch, place, index), link: link.commit }
  } catch (error) {
    signal?.throwIfAborted()
    if (error instanceof RclaudeError) return left(`that cannot be read (${error.message})`)
    throw error
  }
}

/** Each step of the way is a real folder: no link leads out of the working tree. */
async function isRepositoryBelow(root: string, path: string): Promise<boolean> {
  const parts = path.split('/')
  for (let depth = 1; depth <= parts.length; depth++) {
    const found = await lstat(join(root, ...parts.slice(0, depth))).catch(() => undefined)
    if (found?.isDirectory() !== true) return false
  }
  const dotGit = await lstat(join(root, path, '.git')).catch(() => undefined)
  return dotGit?.isDirectory() === true || dotGit?.isFile() === true
}

/** One tree with the files of all. */
async function combine(
  repositories: readonly { path: string; tree: string }[],
  scratch: Scratch,
  signal?: AbortSignal,
): Promise<string> {
  const run = scratchGit(scratch, signal)
  const empty = repositories.length > 1 ? await makeTree(run, []) : ''
  const trees = new Map(repositories.map(({ path, tree }) => [path, tree]))
  const submodules = repositories.filter(({ path }) => path !== '')
  for (const { path: parent } of [...repositories].reverse())
    for (const { path } of directlyIn(parent, submodules)) {
      const inner = trees.get(path) ?? empty
      const entry = inner === empty ? undefined : treeEntry(inner) // git keeps no empty folder
      trees.set(parent, await withEntry(run, trees.get(parent) ?? empty, pathWithin(parent, path), entry))
    }
  return trees.get('') ?? ''
}

/**
 * The tree of one repository out of a combined one, with the commit that `linkOf` gives for each submodule directly inside.
 * `tree` is what stands at its path in the combined tree.
 */
export async function separate(
  tree: string,
  parent: string,
  submodules: readonly { path: string }[],
  linkOf: (path: string) => string,
  run: RunGit,
): Promise<string> {
  let separated = tree
  for (const { path } of directlyIn(parent, submodules))
    separated = await withEntry(run, separated, pathWithin(parent, path), linkEntry(linkOf(path)))
  return separated
}
