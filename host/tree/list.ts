/**
 * Which paths of a tree take part. Where git keeps the tree, git itself says what is tracked or new and not ignored;
 * elsewhere every `.gitignore` on the way counts. A repository inside another is asked on its own. What is listed are words
 * only: whether a path is there, and what it is, is looked at afterwards.
 */
import ignore, { type Ignore } from 'ignore'
import { readSmall } from './content.ts'
import { type BytePath, isOwnName, joined, nameOf, refusedPath, toText } from './names.ts'
import type { Tree } from './tree.ts'

export interface Selection {
  /** Leave out what `.gitignore` names. */
  ignore: boolean
  /** Patterns as in .gitignore: leave out, and take although ignored. */
  exclude: readonly string[]
  include: readonly string[]
}

/** git's output as bytes; undefined when it refuses, as it does outside a repository. */
export type RunGit = (cwd: string | Buffer, args: readonly string[]) => Promise<BytePath | undefined>

/** More than this in one tree is refused. */
export const MAX_PATHS = 1_000_000
const MAX_DEPTH = 200
/** Folders that are read before others have their turn. */
const FOLDERS_A_TURN = 100

export class TooManyPaths extends Error {
  override readonly name = 'TooManyPaths'
  constructor() {
    super(`more than ${MAX_PATHS.toLocaleString('en-US')} files`)
  }
}

/** Sorted by their bytes, each once. @param git undefined where there is none to be asked */
export async function listTree(tree: Tree, selection: Selection, git: RunGit | undefined): Promise<BytePath[]> {
  const lister = new Lister(tree, selection, git)
  await lister.list('', 0)
  return [...lister.paths].sort(byBytes)
}

export const byBytes = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** What `exclude` names, and what never travels. */
export function isLeftOut(exclude: readonly string[]): (path: BytePath) => boolean {
  const rules = exclude.length === 0 ? undefined : ignore().add([...exclude])
  return (path) => isOwnName(path) || refusedPath(path) !== undefined || rules?.ignores(toText(path)) === true
}

class Lister {
  readonly paths = new Set<BytePath>()
  readonly #tree: Tree
  readonly #selection: Selection
  readonly #git: RunGit | undefined
  readonly #isOut: (path: BytePath) => boolean
  readonly #included: Ignore | undefined
  #folders = 0

  constructor(tree: Tree, selection: Selection, git: RunGit | undefined) {
    this.#tree = tree
    this.#selection = selection
    this.#git = git
    this.#isOut = isLeftOut(selection.exclude)
    if (selection.include.length > 0) this.#included = ignore().add([...selection.include])
  }

  async list(folder: BytePath, depth: number): Promise<void> {
    if (depth > MAX_DEPTH) return
    const listed = this.#selection.ignore ? await this.#askGit(folder) : undefined
    if (listed === undefined) return await this.#walk(folder, [], depth)
    for (const path of listed) {
      const isFolder = path.endsWith('/') // a repository of its own that git does not track
      if (isFolder) await this.list(joined(folder, path.slice(0, -1)), depth + 1)
      else if (this.#add(joined(folder, path)) && this.#tree.look(joined(folder, path))?.isDirectory()) {
        this.paths.delete(joined(folder, path)) // a submodule
        await this.list(joined(folder, path), depth + 1)
      }
    }
  }

  /** Undefined when the folder is in no repository, or is one that its repository ignores. */
  async #askGit(folder: BytePath): Promise<BytePath[] | undefined> {
    if (this.#git === undefined) return undefined
    const ask = async (...args: string[]) => {
      const output = await this.#git?.(this.#tree.folder(folder), args)
      return output?.split('\0').filter((path) => path !== '')
    }
    const listed = await ask('ls-files', '-co', '--exclude-standard', '-z')
    if (listed === undefined) return undefined
    if (listed.length === 0 && (await ask('check-ignore', '-q', '.')) !== undefined) return undefined
    if (this.#included === undefined) return listed
    const ignored = (await ask('ls-files', '-oi', '--exclude-standard', '-z')) ?? []
    return [...listed, ...ignored.filter((path) => this.#isIncluded(joined(folder, path)))]
  }

  /** @param rules of the folders above, each with the folder that it counts in */
  async #walk(folder: BytePath, above: readonly Rules[], depth: number): Promise<void> {
    if (++this.#folders % FOLDERS_A_TURN === 0) await new Promise((resolve) => setImmediate(resolve))
    const names = this.#tree.names(folder)
    const own = this.#selection.ignore && names.includes('.gitignore') ? this.#rulesIn(folder) : undefined
    const rules = own === undefined ? above : [...above, own]
    const folders: BytePath[] = []
    for (const name of names) {
      const path = joined(folder, name)
      const stats = name === '.git' || this.#isOut(path) ? undefined : this.#tree.look(path)
      if (stats === undefined) continue
      const isFolder = stats.isDirectory()
      if (isIgnored(rules, path, isFolder) && !this.#isIncluded(path)) {
        if (isFolder && this.#included !== undefined) folders.push(path)
        continue
      }
      if (isFolder) folders.push(path)
      else this.#add(path)
    }
    for (const path of folders) {
      if (depth >= MAX_DEPTH) return
      const isRepository = this.#git !== undefined && this.#tree.look(joined(path, '.git')) !== undefined
      if (isRepository) await this.list(path, depth + 1)
      else await this.#walk(path, rules, depth + 1)
    }
  }

  #rulesIn(folder: BytePath): Rules | undefined {
    try {
      const text = readSmall(this.#tree, joined(folder, '.gitignore')).bytes.toString('utf8')
      return { folder, rules: ignore().add(text) }
    } catch {
      return undefined // a link, or one that changes as we look: git would not follow it either
    }
  }

  #isIncluded(path: BytePath): boolean {
    return this.#included?.ignores(toText(path)) === true
  }

  #add(path: BytePath): boolean {
    if (this.#isOut(path) || nameOf(path) === '') return false
    if (this.paths.size >= MAX_PATHS) throw new TooManyPaths()
    this.paths.add(path)
    return true
  }
}

interface Rules {
  folder: BytePath
  rules: Ignore
}

/** The deepest file that speaks of a path decides. */
function isIgnored(all: readonly Rules[], path: BytePath, isFolder: boolean): boolean {
  for (const { folder, rules } of [...all].reverse()) {
    const inside = toText(folder === '' ? path : path.slice(folder.length + 1))
    const { ignored, unignored } = rules.test(isFolder ? `${inside}/` : inside)
    if (ignored) return true
    if (unignored) return false
  }
  return false
}
