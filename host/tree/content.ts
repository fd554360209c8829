/**
 * What a file or link of a tree holds, as an id: `sha256:` and the digest of a file, `link:` and a link's target. Ids that
 * were computed are remembered with the facts of the file that change whenever its content does.
 */
import { createHash, hash } from 'node:crypto'
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  read as readCallback,
  readlinkSync,
  readSync,
  type Stats,
} from 'node:fs'
import { promisify } from 'node:util'
import type { BytePath } from './names.ts'
import { isNoWay, type Tree } from './tree.ts'

export type ContentId = `sha256:${string}` | `link:${string}`

/** Files up to this size are read at once; larger ones in pieces, between which others have their turn. */
export const SMALL_BYTES = 512 * 1024
const PIECE_BYTES = 1024 ** 2
/**
 * A file that was changed again within one tick of the kernel's clock would look the same (git's "racy" entries): what is
 * younger than this is read again the next time.
 */
const RACY_MS = 50

const OPEN_FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
const readAsync = promisify(readCallback)

/** What of a file changes whenever its content does: a write moves the times, a replacement the inode. */
export type Facts = Pick<Stats, 'size' | 'mtimeMs' | 'ctimeMs' | 'ino' | 'dev'>

/** Compared as numbers: as text they would cost more than the rest of a scan. */
export const isUnchanged = (a: Facts, b: Facts): boolean =>
  a.mtimeMs === b.mtimeMs && a.ctimeMs === b.ctimeMs && a.size === b.size && a.ino === b.ino && a.dev === b.dev

const factsOf = ({ size, mtimeMs, ctimeMs, ino, dev }: Facts): Facts => ({ size, mtimeMs, ctimeMs, ino, dev })

export const idOfBytes = (bytes: Uint8Array): ContentId => `sha256:${hash('sha256', bytes, 'hex')}`
export const linkId = (target: BytePath): ContentId => `link:${Buffer.from(target, 'latin1').toString('base64')}`
export const targetOf = (id: ContentId): BytePath => Buffer.from(id.slice('link:'.length), 'base64').toString('latin1')
export const isLinkId = (id: string): boolean => id.startsWith('link:')

/** A file changed while it was read: nothing that was read of it counts. */
export class ChangedMeanwhile extends Error {
  override readonly name = 'ChangedMeanwhile'
  constructor() {
    super('it changed while it was read')
  }
}

/** Ids by path, each good as long as the file's facts are the same. */
export interface KnownContent {
  get(path: BytePath, facts: Facts): ContentId | undefined
  /** Does nothing for what was changed a moment ago. */
  set(path: BytePath, facts: Facts, id: ContentId): void
}

export interface Known {
  facts: Facts
  id: ContentId
}

/** So many; the oldest are forgotten. */
export class ContentMemory implements KnownContent {
  readonly #limit: number
  readonly #known = new Map<BytePath, Known>()

  constructor(limit: number) {
    this.#limit = limit
  }

  get size(): number {
    return this.#known.size
  }

  get(path: BytePath, facts: Facts): ContentId | undefined {
    const known = this.#known.get(path)
    return known !== undefined && isUnchanged(known.facts, facts) ? known.id : undefined
  }

  set(path: BytePath, facts: Facts, id: ContentId): void {
    if (!isRacy(facts, Date.now())) this.put(path, factsOf(facts), id)
  }

  put(path: BytePath, facts: Facts, id: ContentId): void {
    this.#known.set(path, { facts, id })
    if (this.#known.size <= this.#limit) return
    const oldest = this.#known.keys().next()
    if (!oldest.done) this.#known.delete(oldest.value)
  }

  entry(path: BytePath): Known | undefined {
    return this.#known.get(path)
  }

  paths(): IterableIterator<BytePath> {
    return this.#known.keys()
  }

  delete(path: BytePath): void {
    this.#known.delete(path)
  }

  /** The same memory for a tree whose root is this folder. */
  under(folder: BytePath): KnownContent {
    if (folder === '') return this
    return {
      get: (path, facts) => this.get(`${folder}/${path}`, facts),
      set: (path, facts, id) => this.set(`${folder}/${path}`, facts, id),
    }
  }
}

const isRacy = ({ mtimeMs }: Facts, nowMs: number): boolean => mtimeMs > nowMs - RACY_MS

export interface SmallFile {
  bytes: Buffer
  stats: Stats
  id: ContentId
}

/** For one reader who is done with a file's bytes before it reads the next: thousands of buffers would keep the collector busy. */
export const newScratch = (): Buffer => Buffer.allocUnsafe(SMALL_BYTES + 1)

/** @param scratch what the bytes may lie in. @throws ChangedMeanwhile, also when it is no small file; or the system's error */
export function readSmall(tree: Tree, path: BytePath, scratch?: Buffer): SmallFile {
  const fd = openSync(tree.at(path), OPEN_FILE)
  try {
    const stats = fstatSync(fd)
    if (!stats.isFile() || stats.size > SMALL_BYTES) throw new ChangedMeanwhile()
    const buffer = scratch?.subarray(0, stats.size + 1) ?? Buffer.allocUnsafe(stats.size + 1)
    let length = 0
    for (;;) {
      const got = readSync(fd, buffer, length, buffer.length - length, null)
      length += got
      // One more would be read if there were more, and a change of the size is seen below.
      if (got === 0 || length >= stats.size) break
    }
    if (length !== stats.size || !isUnchanged(fstatSync(fd), stats)) throw new ChangedMeanwhile()
    const bytes = buffer.subarray(0, length)
    return { bytes, stats, id: idOfBytes(bytes) }
  } finally {
    closeSync(fd)
  }
}

/** An open file that is read in pieces; `close` it. */
export interface OpenFile {
  stats: Stats
  /** A piece is only good until the next one is asked for. @throws ChangedMeanwhile when it is not what it was at the start */
  pieces(): AsyncGenerator<Buffer>
  close(): void
}

export function openFile(tree: Tree, path: BytePath): OpenFile {
  const fd = openSync(tree.at(path), OPEN_FILE)
  const stats = fstatSync(fd)
  return {
    stats,
    close: () => closeSync(fd),
    async *pieces() {
      if (!stats.isFile()) throw new ChangedMeanwhile()
      const buffer = Buffer.allocUnsafe(Math.min(PIECE_BYTES, stats.size))
      for (let at = 0; at < stats.size; ) {
        const { bytesRead } = await readAsync(fd, buffer, 0, Math.min(buffer.length, stats.size - at), at)
        if (bytesRead === 0) throw new ChangedMeanwhile()
        at += bytesRead
        yield buffer.subarray(0, bytesRead)
      }
      if (!isUnchanged(fstatSync(fd), stats)) throw new ChangedMeanwhile()
    },
  }
}

export interface Present {
  id: ContentId
  stats: Stats
}

/** `special` is a folder, fifo, socket or device. */
export type Now = Present | 'special' | undefined

/** What is there now. @throws ChangedMeanwhile */
export async function contentOf(tree: Tree, path: BytePath, known: KnownContent): Promise<Now> {
  const stats = tree.look(path)
  if (stats === undefined) return undefined
  if (stats.isSymbolicLink()) return linkAt(tree, path, stats)
  if (!stats.isFile()) return 'special'
  const id = known.get(path, stats)
  if (id !== undefined) return { id, stats }
  const fresh = await read(tree, path, stats.size)
  known.set(path, fresh.stats, fresh.id)
  return fresh
}

function linkAt(tree: Tree, path: BytePath, stats: Stats): Present | undefined {
  try {
    return { id: linkId(readlinkSync(tree.at(path), { encoding: 'latin1' })), stats }
  } catch (error) {
    if (isNoWay(error)) return undefined
    throw error
  }
}

async function read(tree: Tree, path: BytePath, size: number): Promise<Present> {
  try {
    if (size <= SMALL_BYTES) return readSmall(tree, path)
    const file = openFile(tree, path)
    try {
      const digest = createHash('sha256')
      for await (const piece of file.pieces()) digest.update(piece)
      return { id: `sha256:${digest.digest('hex')}`, stats: file.stats }
    } finally {
      file.close()
    }
  } catch (error) {
    if (isNoWay(error)) throw new ChangedMeanwhile()
    throw error
  }
}
