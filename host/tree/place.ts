/**
 * Puts files and links into a tree, and takes them out: each one whole or not at all, and only in place of what is expected
 * to be there. The bytes go to a temporary file in the same folder, which takes the name at the end; a name that must be free
 * is taken with link(), which fails when somebody was quicker. A small file that is new is made under its own name, with
 * O_EXCL and one write: that is half the calls, and a program that is killed just there leaves a short file where there was none,
 * which is a conflict the next time and no loss. Nothing is synced to the disk one by one, as in rsync: after a power cut the
 * next manifest tells what is there.
 */
import { createHash, randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  futimesSync,
  linkSync,
  openSync,
  renameSync,
  type Stats,
  symlinkSync,
  unlinkSync,
  write as writeCallback,
  writeSync,
} from 'node:fs'
import { promisify } from 'node:util'
import {
  type ContentId,
  contentOf,
  isUnchanged,
  type KnownContent,
  type Now,
  type Present,
  targetOf,
} from './content.ts'
import { type BytePath, forCall, joined, parentOf } from './names.ts'
import { codeOf, type Tree } from './tree.ts'

const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
const MODE_BITS = 0o777
const ALL_MODE_BITS = 0o7777
const writeAsync = promisify(writeCallback)

/** `same`: it was so already. `conflict`: something else is there, and was left alone. */
export type Placed =
  | { done: 'applied' }
  | { done: 'same' }
  | { done: 'conflict'; message: string }
  | { done: 'error'; code: 'disk_full' | 'forbidden' | 'invalid' | 'internal' | 'changed'; message: string }

export interface Placing {
  tree: Tree
  path: BytePath
  known: KnownContent
  /** What may be replaced; undefined for nothing. */
  expect: ContentId | undefined
}

export interface FileFacts {
  id: ContentId
  mode: number
  mtimeMs: number
  /** Name beside it that keeps what is replaced. */
  keepAs?: BytePath | undefined
}

/** @param content all of it, or its pieces */
export async function placeFile(
  place: Placing,
  facts: FileFacts,
  content: Uint8Array | AsyncIterable<Uint8Array>,
): Promise<Placed> {
  return await guarded(async () => {
    if (content instanceof Uint8Array && place.expect === undefined && makeNew(place, facts, content))
      return { done: 'applied' }
    const now = await contentOf(place.tree, place.path, place.known)
    if (isPresent(now) && now.id === facts.id) {
      return setMode(place, now, facts.mode) ? { done: 'applied' } : { done: 'same' }
    }
    const unexpected = surprise(now, place.expect)
    if (unexpected !== undefined) return unexpected
    const temporary = await fillTemporary(place, facts, content)
    if (temporary === undefined)
      return { done: 'error', code: 'changed', message: 'its bytes are not those that were announced' }
    return takeName(place, temporary, now, facts)
  })
}

export async function placeLink(place: Placing, id: ContentId, keepAs?: BytePath): Promise<Placed> {
  return await guarded(async () => {
    const now = await contentOf(place.tree, place.path, place.known)
    if (isPresent(now) && now.id === id) return { done: 'same' }
    const unexpected = surprise(now, place.expect)
    if (unexpected !== undefined) return unexpected
    const temporary = temporaryBeside(place.path)
    const at = place.tree.at(temporary, true)
    symlinkSync(forCall(targetOf(id)), at)
    return takeName(place, temporary, now, { keepAs })
  })
}

/** A file or link; then the folders above that it leaves empty. */
export async function remove(place: Placing): Promise<Placed> {
  return await guarded(async () => {
    const now = await contentOf(place.tree, place.path, place.known)
    if (now === undefined) return { done: 'same' }
    const unexpected = surprise(now, place.expect)
    if (unexpected !== undefined) return unexpected
    if (!isUntouched(place, now)) return movedOn()
    unlinkSync(place.tree.at(place.path))
    place.tree.prune(place.path)
    return { done: 'applied' }
  })
}

export async function changeMode(place: Placing, mode: number): Promise<Placed> {
  return await guarded(async () => {
    const now = await contentOf(place.tree, place.path, place.known)
    const unexpected = surprise(now, place.expect)
    if (unexpected !== undefined) return unexpected
    return isPresent(now) && setMode(place, now, mode) ? { done: 'applied' } : { done: 'same' }
  })
}

const isPresent = (now: Now): now is Present => now !== undefined && now !== 'special'

function surprise(now: Now, expect: ContentId | undefined): Placed | undefined {
  if (now === 'special') return { done: 'conflict', message: 'something is there that is neither file nor link' }
  if (now?.id === expect) return undefined
  if (now === undefined) return { done: 'conflict', message: 'it is not there any more' }
  return { done: 'conflict', message: expect === undefined ? 'it is there already' : 'it changed meanwhile' }
}

const movedOn = (): Placed => ({ done: 'conflict', message: 'it changed meanwhile' })

/** @returns false when something is there */
function makeNew({ tree, path, known }: Placing, { id, mode, mtimeMs }: FileFacts, bytes: Uint8Array): boolean {
  let fd: number
  try {
    fd = openSync(tree.at(path, true), CREATE, mode & MODE_BITS)
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw error
  }
  let isWhole = false
  try {
    writeWhole(fd, bytes)
    known.set(path, finish(fd, mode, mtimeMs), id)
    isWhole = true
    return true
  } finally {
    closeSync(fd)
    if (!isWhole) unlinkQuietly(tree, path)
  }
}

/** @returns how it is then */
function finish(fd: number, mode: number, mtimeMs: number): Stats {
  futimesSync(fd, mtimeMs / 1000, mtimeMs / 1000)
  const stats = fstatSync(fd)
  if ((stats.mode & ALL_MODE_BITS) === (mode & MODE_BITS)) return stats
  fchmodSync(fd, mode & MODE_BITS)
  return fstatSync(fd)
}

/** @returns the temporary file's path; undefined when the bytes were others than announced */
async function fillTemporary(
  { tree, path }: Placing,
  { id, mode, mtimeMs }: FileFacts,
  content: Uint8Array | AsyncIterable<Uint8Array>,
): Promise<BytePath | undefined> {
  const temporary = temporaryBeside(path)
  const fd = openSync(tree.at(temporary, true), CREATE, 0o600)
  let isGood = false
  try {
    if (content instanceof Uint8Array) {
      writeWhole(fd, content)
      isGood = true // whoever has all of it has looked at its hash
    } else {
      const digest = createHash('sha256')
      for await (const piece of content) {
        digest.update(piece)
        for (let at = 0; at < piece.length; ) at += (await writeAsync(fd, piece, at)).bytesWritten
      }
      isGood = `sha256:${digest.digest('hex')}` === id
    }
    finish(fd, mode, mtimeMs)
    return isGood ? temporary : undefined
  } catch (error) {
    isGood = false
    throw error
  } finally {
    closeSync(fd)
    if (!isGood) unlinkQuietly(tree, temporary)
  }
}

function writeWhole(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at)
}

/** From the last look to the rename nothing else of ours runs. */
function takeName(place: Placing, temporary: BytePath, now: Now, facts: Partial<FileFacts>): Placed {
  const { tree, path } = place
  let isTaken = false
  try {
    const [from, to] = [tree.at(temporary), tree.at(path)]
    if (now === undefined) {
      isTaken = linkFreely(from, to)
      return isTaken ? { done: 'applied' } : { done: 'conflict', message: 'it is there already' }
    }
    if (!isUntouched(place, now)) return movedOn()
    if (facts.keepAs !== undefined) linkSync(to, tree.at(facts.keepAs))
    renameSync(from, to)
    isTaken = true
    return { done: 'applied' }
  } finally {
    if (now === undefined || !isTaken) unlinkQuietly(tree, temporary)
    if (isTaken) remember(place, facts.id)
  }
}

/** A file system without hard links takes the name by a rename, a moment after the last look. */
function linkFreely(from: string | Buffer, to: string | Buffer): boolean {
  try {
    linkSync(from, to)
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(codeOf(error))) throw error
    renameSync(from, to)
    return true
  }
}

function remember({ tree, path, known }: Placing, id: ContentId | undefined): void {
  const stats = id === undefined ? undefined : tree.look(path)
  if (id !== undefined && stats?.isFile()) known.set(path, stats, id)
}

function isUntouched({ tree, path }: Placing, now: Now): boolean {
  const stats = tree.look(path)
  return isPresent(now) && stats !== undefined && isUnchanged(stats, now.stats)
}

/** @returns whether it was another one */
function setMode({ tree, path }: Placing, { stats }: Present, mode: number): boolean {
  if (!stats.isFile() || (stats.mode & MODE_BITS) === (mode & MODE_BITS)) return false
  const fd = openSync(tree.at(path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    fchmodSync(fd, mode & MODE_BITS)
    return true
  } finally {
    closeSync(fd)
  }
}

const OURS = randomBytes(8).toString('hex')
let temporaries = 0
const temporaryBeside = (path: BytePath): BytePath => joined(parentOf(path), `.rclaude-sync-${OURS}-${temporaries++}`)

function unlinkQuietly(tree: Tree, path: BytePath): void {
  try {
    unlinkSync(tree.at(path))
  } catch {
    // It has its name, or its folder is gone.
  }
}

/** The system's refusals as values. */
async function guarded(work: () => Promise<Placed>): Promise<Placed> {
  try {
    return await work()
  } catch (error) {
    const code = codeOf(error)
    if (error instanceof Error && error.name === 'ChangedMeanwhile') return movedOn()
    if (code === 'ENOSPC' || code === 'EDQUOT')
      return { done: 'error', code: 'disk_full', message: 'no space is left; delete something and try again' }
    if (code === 'ENOTDIR' || code === 'ELOOP')
      return { done: 'conflict', message: 'the way to it leads through something that is no folder' }
    if (code === 'EISDIR' || code === 'ENOTEMPTY') return { done: 'conflict', message: 'a folder is there' }
    if (['EACCES', 'EPERM', 'EROFS'].includes(code))
      return { done: 'error', code: 'forbidden', message: `it may not be changed (${code})` }
    if (['ENAMETOOLONG', 'EINVAL', 'EILSEQ', 'EFBIG'].includes(code))
      return { done: 'error', code: 'invalid', message: `it is not possible on this disk (${code})` }
    if (code === 'UNKNOWN' || code.startsWith('ERR_')) throw error
    return { done: 'error', code: 'internal', message: `the disk says ${code}` }
  }
}
