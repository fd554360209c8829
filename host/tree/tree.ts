/**
 * A folder whose files are reached without ever being led out of it, whoever changes it meanwhile. Each folder on the way
 * is opened relative to the open one before it, with O_NOFOLLOW; `/proc/self/fd/N/name` is what Node has for openat. The
 * folders of the last path stay open, so that a sorted list of paths opens each folder once. Elsewhere than on Linux the
 * steps are plain paths, and a folder that is swapped for a link between two of them could be followed.
 *
 * The calls are synchronous: for small files a trip to the thread pool costs more than the work. One reader or writer has
 * one tree, and closes it.
 */

import type { Stats } from 'node:fs'
import { closeSync, constants, lstatSync, mkdirSync, openSync, readdirSync, realpathSync, rmdirSync } from 'node:fs'
import { type BytePath, forCall, nameOf, parentOf } from './names.ts'

const HAS_PROC = process.platform === 'linux'
const OPEN_FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW

export interface TreeOptions {
  /** Make the folder, with those above it. */
  create?: boolean
}

interface Folder {
  name: BytePath
  fd: number
  /** With a closing slash. */
  path: BytePath
  /** The same as it was on the way here, which somebody may redirect. */
  plainPath: BytePath
}

export class Tree {
  #stack: Folder[]
  /** The path that the stack stands for. */
  #at: BytePath = ''

  private constructor(root: Folder) {
    this.#stack = [root]
  }

  /**
   * @param root may be reached by links, `folder` below it may not
   * @throws the system's error when there is no such folder
   */
  static open(root: string, folder: BytePath = '', options: TreeOptions = {}): Tree {
    const path = realpathSync(root)
    const fd = openSync(path, OPEN_FOLDER)
    const plainPath = `${Buffer.from(path).toString('latin1')}/`
    const tree = new Tree({ name: '', fd, path: pathOf(fd, plainPath), plainPath })
    if (folder === '') return tree
    try {
      tree.#enter(folder, options.create === true)
      const inner = tree.#stack.pop() as Folder
      return new Tree({ ...inner, name: '' })
    } finally {
      tree.close()
    }
  }

  close(): void {
    for (const { fd } of this.#stack.splice(0)) closeSync(fd)
  }

  /** A path for the system's calls that do not follow its last name. @throws ENOENT, ENOTDIR, ELOOP on the way */
  at(path: BytePath, create = false): string | Buffer {
    return forCall(this.#enter(parentOf(path), create) + nameOf(path))
  }

  /** Undefined when nothing is there, or the way leads through something that is no folder. */
  look(path: BytePath): Stats | undefined {
    try {
      return lstatSync(this.at(path), { throwIfNoEntry: false })
    } catch (error) {
      if (isNoWay(error)) return undefined
      throw error
    }
  }

  /**
   * The same for a list: what is seen may be elsewhere, when somebody swaps a folder for a link at that moment, so nothing is
   * read or written by it. It takes half the time.
   */
  glance(path: BytePath): Stats | undefined {
    try {
      this.#enter(parentOf(path), false)
      return lstatSync(forCall(this.#top.plainPath + nameOf(path)), { throwIfNoEntry: false })
    } catch (error) {
      if (isNoWay(error)) return undefined
      throw error
    }
  }

  /** Names in a folder; empty when it is none. */
  names(folder: BytePath): BytePath[] {
    try {
      return readdirSync(forCall(this.#enter(folder, false)), { encoding: 'latin1' })
    } catch (error) {
      if (isNoWay(error)) return []
      throw error
    }
  }

  /** The system's path of a folder in the tree, for the working directory of a child. */
  folder(path: BytePath): string | Buffer {
    return forCall(this.#enter(path, false))
  }

  /** Removes the folders above a path that hold nothing any more. */
  prune(path: BytePath): void {
    for (let folder = parentOf(path); folder !== ''; folder = parentOf(folder)) {
      try {
        rmdirSync(this.at(folder))
      } catch {
        return // it holds something, or is gone
      }
    }
  }

  /** @returns the folder's path with a closing slash */
  #enter(path: BytePath, create: boolean): BytePath {
    if (path === this.#at) return this.#top.path
    const names = path === '' ? [] : path.split('/')
    let common = 0
    while (common < names.length && this.#stack[common + 1]?.name === names[common]) common++
    for (const { fd } of this.#stack.splice(common + 1)) closeSync(fd)
    this.#at = names.slice(0, common).join('/')
    for (const name of names.slice(common)) {
      this.#push(name, create)
      this.#at = this.#at === '' ? name : `${this.#at}/${name}`
    }
    return this.#top.path
  }

  #push(name: BytePath, create: boolean): void {
    const path = this.#top.path + name
    const plainPath = `${this.#top.plainPath}${name}/`
    const fd = create ? this.#openOrMake(path) : openSync(forCall(path), OPEN_FOLDER)
    this.#stack.push({ name, fd, path: pathOf(fd, plainPath), plainPath })
  }

  #openOrMake(path: BytePath): number {
    try {
      return openSync(forCall(path), OPEN_FOLDER)
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error
    }
    try {
      mkdirSync(forCall(path))
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error
    }
    return openSync(forCall(path), OPEN_FOLDER)
  }

  get #top(): Folder {
    const top = this.#stack.at(-1)
    if (top === undefined) throw new Error('the tree is closed')
    return top
  }
}

const pathOf = (fd: number, plainPath: BytePath): BytePath => (HAS_PROC ? `/proc/self/fd/${fd}/` : plainPath)

export const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : 'UNKNOWN'

/** Nothing is there, or not by folders alone. */
export const isNoWay = (error: unknown): boolean =>
  ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG'].includes(codeOf(error))
