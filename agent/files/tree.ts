/**
 * Finds a path inside the workspace without ever being led out of it, whoever changes the tree meanwhile.
 *
 * The path is walked one name at a time. Each directory is opened relative to the open directory before it, with
 * O_NOFOLLOW, so a name that is swapped for a symlink between two steps is refused and not followed. Node has no openat;
 * on Linux `/proc/self/fd/N/name` is the same. Symlinks are read and walked by us: those that stay inside work, others
 * are refused. Elsewhere (macOS) the steps are plain paths, and a directory that is swapped between two steps could be
 * followed: there, that race remains. A bind mount or hard link inside the workspace is part of the workspace.
 */
import { type BigIntStats, constants } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, readlink, realpath } from 'node:fs/promises'
import { RclaudeError } from '../../protocol/errors.ts'

/** As the kernel does. */
const MAX_SYMLINKS = 40
/** An open directory has a path that nobody can redirect. */
export const HAS_PROC = process.platform === 'linux'
const SLASH = Buffer.from('/')

interface Directory {
  handle: FileHandle
  path: Buffer
}

/** Where a path leads: a name in an open directory. Close it when done. */
export interface Place {
  /** Path of the parent directory that cannot be redirected any more. */
  parent: Buffer
  /** The last name; undefined for the workspace itself. */
  name: Buffer | undefined
  /** Path of the file itself, for calls that don't follow its last name. */
  path: Buffer
  /** Undefined when nothing is there. Never a symlink, unless `followLast` was false. */
  stats: BigIntStats | undefined
  close(): Promise<void>
}

export interface WalkOptions {
  /** Make directories that are missing on the way. */
  create?: boolean
  followLast: boolean
  /** Any symlink on the way is an error, wherever it leads. */
  refuseLinks?: boolean
}

/** @param names raw bytes, no empty ones, no `.` and `..`. @throws RclaudeError, or the system's error */
export async function findPlace(root: string, names: readonly Buffer[], options: WalkOptions): Promise<Place> {
  const rootPath = Buffer.from(await realpath(root))
  const walk = new Walk(rootPath, options)
  try {
    await walk.enterRoot()
    return await walk.go(names)
  } catch (error) {
    await walk.close()
    throw error
  }
}

class Walk {
  readonly #root: Buffer
  readonly #options: WalkOptions
  /** From the workspace down to where we are. */
  #stack: Directory[] = []
  #symlinks = 0

  constructor(root: Buffer, options: WalkOptions) {
    this.#root = root
    this.#options = options
  }

  async enterRoot(): Promise<void> {
    this.#stack.push({ handle: await openDirectory(this.#root), path: this.#root })
  }

  async close(): Promise<void> {
    const stack = this.#stack
    this.#stack = []
    await Promise.all(stack.map(({ handle }) => handle.close()))
  }

  async go(names: readonly Buffer[]): Promise<Place> {
    const rest = [...names]
    for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
      if (name.equals(DOT)) continue
      if (name.equals(DOT_DOT)) {
        await this.#leave()
        continue
      }
      const path = at(this.#here(), name)
      const stats = await lstat(path, { bigint: true }).catch(absent)
      const isLast = rest.length === 0
      if (stats?.isSymbolicLink() && this.#options.refuseLinks && !isLast)
        throw new RclaudeError('forbidden', `${quoted(name)} on the way is a symbolic link`)
      if (stats?.isSymbolicLink() && !(isLast && !this.#options.followLast))
        rest.unshift(...(await this.#target(path, name)))
      else if (isLast) return this.#place(name, path, stats)
      else await this.#enter(name, path, stats)
    }
    const here = this.#here()
    const self = HAS_PROC ? joinBytes(descriptorPath(here.handle), DOT) : here.path
    return this.#place(undefined, self, await here.handle.stat({ bigint: true }))
  }

  #here(): Directory {
    const here = this.#stack.at(-1)
    if (here === undefined) throw new Error('the walk is closed')
    return here
  }

  #place(name: Buffer | undefined, path: Buffer, stats: BigIntStats | undefined): Place {
    const here = this.#here()
    const parent = HAS_PROC ? descriptorPath(here.handle) : here.path
    return { parent, name, path, stats, close: () => this.close() }
  }

  async #enter(name: Buffer, path: Buffer, stats: BigIntStats | undefined): Promise<void> {
    if (stats === undefined && this.#options.create === true) await mkdir(path, { mode: 0o755 }).catch(unless('EEXIST'))
    const handle = await openDirectory(path)
    this.#stack.push({ handle, path: joinBytes(this.#here().path, name) })
  }

  async #leave(): Promise<void> {
    if (this.#stack.length === 1) throw outside()
    await this.#stack.pop()?.handle.close()
  }

  /** The names that a symlink stands for, as seen from here, or from the workspace when it is absolute. */
  async #target(path: Buffer, name: Buffer): Promise<Buffer[]> {
    if (++this.#symlinks > MAX_SYMLINKS)
      throw new RclaudeError('invalid', `too many symbolic links on the way, the last one is ${quoted(name)}`)
    const target = await readlink(path, { encoding: 'buffer' })
    if (target[0] !== SLASH[0]) return splitPath(target)
    const inside =
      target.equals(this.#root) || target.subarray(0, this.#root.length + 1).equals(Buffer.concat([this.#root, SLASH]))
    if (!inside) throw outside()
    while (this.#stack.length > 1) await this.#leave()
    return splitPath(target.subarray(this.#root.length))
  }
}

const DOT = Buffer.from('.')
const DOT_DOT = Buffer.from('..')

export function openDirectory(path: Buffer): Promise<FileHandle> {
  return open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
}

/** A name in an open directory. */
function at(directory: Directory, name: Buffer): Buffer {
  return joinBytes(HAS_PROC ? descriptorPath(directory.handle) : directory.path, name)
}

export function descriptorPath(handle: FileHandle): Buffer {
  return Buffer.from(`/proc/self/fd/${handle.fd}`)
}

export function joinBytes(directory: Buffer, name: Buffer): Buffer {
  return Buffer.concat([directory, SLASH, name])
}

/** Without the empty names of doubled and closing slashes. */
function splitPath(path: Buffer): Buffer[] {
  const names = path.toString('latin1').split('/')
  return names.filter((name) => name !== '').map((name) => Buffer.from(name, 'latin1'))
}

export function quoted(name: Buffer): string {
  return JSON.stringify(name.toString('utf8'))
}

export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
}

function absent(error: unknown): undefined {
  if (!hasCode(error, 'ENOENT')) throw error
}

const unless = (code: string) => (error: unknown) => {
  if (!hasCode(error, code)) throw error
}

function outside(): RclaudeError {
  return new RclaudeError('forbidden', 'the path leads out of the workspace through a symbolic link')
}
