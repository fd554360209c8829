/**
 * Which paths of a tree take part. Where git keeps the tree, git itself says what is tracked or new and not ignored;
 * elsewhere every `.gitignore` on the way counts. A repository inside another is asked on its own. What is listed are words
 * only: whether a path is there, and what it is, is looked at afterwards.
 */
import { existsSync, type Stats, unlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import ignore, { type Ignore } from 'ignore'
import { type Facts, readSmall } from './content.ts'
import { type BytePath, isOrdinary, isTemporary, joined, toText } from './names.ts'
import { codeOf, type Tree } from './tree.ts'

export interface Selection {
  /** Leave out what `.gitignore` names. */
  ignore: boolean
  /** Patterns as in .gitignore: leave out, and take although ignored. */
  exclude: readonly string[]
  include: readonly string[]
}

/** Whether git could find a repository from here up. It saves starting it where there is none. */
export function isInRepository(folder: string, top = '/'): boolean {
  for (let path = folder; ; path = dirname(path)) {
    if (existsSync(join(path, '.git'))) return true
    if (path === top || path === dirname(path)) return false
  }
}

/** git's output as bytes; undefined when it refuses, as it does outside a repository. */
export type RunGit = (cwd: string | Buffer, args: readonly string[]) => Promise<BytePath | undefined>

/** More than this in one tree is refused. */
export const MAX_PATHS = 500_000
const MAX_DEPTH = 200
/** Files that are looked at before others have their turn: about 10 ms. */
const LOOKS_A_TURN = 1_000
/** A temporary file of ours that nobody touched for so long was left by a program that was killed. */
export const STALE_MS = 10 * 60_000
const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

export class TooManyPaths extends Error {
  override readonly name = 'TooManyPaths'
  constructor() {
    super(`more than ${MAX_PATHS.toLocaleString('en-US')} files`)
  }
}

/** Of `Stats` what is kept of each file while a tree is looked through: the whole, with its dates, is ten times as large. */
export type Seen = Facts & Pick<Stats, 'mode'>

/** Something that is there and no folder. */
export interface Listed {
  path: BytePath
  seen: Seen
}

const seenOf = ({ mode, size, mtimeMs, ctimeMs, ino, dev }: Stats): Seen => ({ mode, size, mtimeMs, ctimeMs, ino, dev })

/** What is there and may not be looked at: whatever is in it must not be taken for deleted. */
export type OnDenied = (path: BytePath) => void

/** Sorted by their bytes, each once. Stale temporary files of ours that it comes by are deleted. @param git undefined where there is none to be asked */
export async function listTree(
  tree: Tree,
  selection: Selection,
  git: RunGit | undefined,
  onDenied: OnDenied,
): Promise<Listed[]> {
  const lister = new Lister(tree, selection, git, onDenied)
  await lister.list('', 0)
  const found: Listed[] = []
  for (const [path, seen] of lister.found) found.push({ path, seen })
  return found.sort((a, b) => byBytes(a.path, b.path))
}

/** The same for paths that are known. */
export function* look(tree: Tree, paths: Iterable<BytePath>, onDenied: OnDenied): Generator<Listed> {
  for (const path of paths) {
    const stats = unlessDenied(
      () => tree.look(path),
      () => onDenied(path),
    )
    if (stats !== undefined && !stats.isDirectory()) yield { path, seen: seenOf(stats) }
  }
}

export const byBytes = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** What `exclude` names, and what never travels. */
export function isLeftOut(exclude: readonly string[]): (path: BytePath) => boolean {
  const rules = exclude.length === 0 ? undefined : ignore().add([...exclude])
  return (path) => !isOrdinary(path) || rules?.ignores(toText(path)) === true
}

class Lister {
  readonly found = new Map<BytePath, Seen>()
  readonly #tree: Tree
  readonly #selection: Selection
  readonly #git: RunGit | undefined
  readonly #isOut: (path: BytePath) => boolean
  readonly #included: Ignore | undefined
  readonly #onDenied: OnDenied
  #looks = 0

  constructor(tree: Tree, selection: Selection, git: RunGit | undefined, onDenied: OnDenied) {
    this.#onDenied = onDenied
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
    for (const name of listed) {
      if (++this.#looks % LOOKS_A_TURN === 0) await turn()
      const isRepository = name.endsWith('/') // of its own, that git does not track
      const path = joined(folder, isRepository ? name.slice(0, -1) : name)
      if (this.found.has(path) || (!isRepository && this.#leavesOut(path))) continue
      const stats = this.#tree.look(path)
      if (stats === undefined) continue
      if (stats.isDirectory())
        await this.list(path, depth + 1) // such a one, or a submodule
      else this.#add(path, stats)
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
    const names =
      unlessDenied(
        () => this.#tree.names(folder),
        () => this.#onDenied(folder),
      ) ?? []
    const own = this.#selection.ignore && names.includes('.gitignore') ? this.#rulesIn(folder) : undefined
    const rules = own === undefined ? above : [...above, own]
    const folders: BytePath[] = []
    for (const name of names) {
      if (++this.#looks % LOOKS_A_TURN === 0) await turn()
      const path = joined(folder, name)
      const stats = name === '.git' || this.#leavesOut(path) ? undefined : this.#glance(path)
      if (stats === undefined) continue
      const isFolder = stats.isDirectory()
      if (rules.length > 0 && isIgnored(rules, path, isFolder) && !this.#isIncluded(path)) {
        if (isFolder && this.#included !== undefined) folders.push(path)
        continue
      }
      if (isFolder) folders.push(path)
      else this.#add(path, stats)
    }
    for (const path of folders) {
      if (depth >= MAX_DEPTH) return
      const isRepository = this.#git !== undefined && this.#tree.look(joined(path, '.git')) !== undefined
      if (isRepository) await this.list(path, depth + 1)
      else await this.#walk(path, rules, depth + 1)
    }
  }

  #leavesOut(path: BytePath): boolean {
    const isOut = this.#isOut(path)
    if (isOut && isTemporary(path)) deleteStale(this.#tree, path)
    return isOut
  }

  #rulesIn(folder: BytePath): Rules | undefined {
    try {
      const text = readSmall(this.#tree, joined(folder, '.gitignore')).bytes.toString('utf8')
      return { folder, rules: ignore().add(text) }
    } catch {
      return undefined // a link, or one that changes as we look: git would not follow it either
    }
  }

  #glance(path: BytePath): Stats | undefined {
    return unlessDenied(
      () => this.#tree.glance(path),
      () => this.#onDenied(path),
    )
  }

  #isIncluded(path: BytePath): boolean {
    return this.#included?.ignores(toText(path)) === true
  }

  #add(path: BytePath, stats: Stats): void {
    if (this.found.size >= MAX_PATHS) throw new TooManyPaths()
    this.found.set(path, seenOf(stats))
  }
}

/** By the time of its last change, which nobody sets: the one of its content is already that of the file it was to become. */
function deleteStale(tree: Tree, path: BytePath): void {
  try {
    const stats = tree.look(path)
    if (stats === undefined || stats.isDirectory() || Date.now() - stats.ctimeMs < STALE_MS) return
    unlinkSync(tree.at(path))
  } catch {
    // It is gone, or may not be deleted; it does not travel anyway.
  }
}

function unlessDenied<T>(look: () => T, denied: () => void): T | undefined {
  try {
    return look()
  } catch (error) {
    if (!['EACCES', 'EPERM', 'EIO'].includes(codeOf(error))) throw error
    denied()
    return undefined
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
