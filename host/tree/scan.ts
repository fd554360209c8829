/** A tree as a list of what is in it: contents by their ids, and what cannot travel by the reason. */
import { createHash } from 'node:crypto'
import { constants, readlinkSync } from 'node:fs'
import { ChangedMeanwhile, type ContentId, contentOf, type KnownContent, linkId } from './content.ts'
import type { Listed, Seen } from './list.ts'
import { type BytePath, staysInside } from './names.ts'
import { isNoWay, type Tree } from './tree.ts'

export interface Entry {
  path: BytePath
  /** Undefined when it was not asked for. */
  id: ContentId | undefined
  /** Permission bits. */
  mode: number
  size: number
}

export interface Skipped {
  path: BytePath
  why: string
}

export interface Scan {
  entries: Entry[]
  skipped: Skipped[]
}

export interface ScanOptions {
  known: KnownContent
  /** Whose ids are wanted; the others only get one that is known. Default: all. */
  wants?: (path: BytePath) => boolean
  signal?: AbortSignal | undefined
}

export const deniedAt = (path: BytePath): Skipped => ({ path, why: 'it may not be read' })

/** How long others wait while we look at files. */
const TURN_MS = 10
/** A file that changes while it is read is read so often. */
const TRIES = 3

/** @param listed sorted, so that each folder is opened once */
export async function scan(tree: Tree, listed: Iterable<Listed>, options: ScanOptions): Promise<Scan> {
  const found: Scan = { entries: [], skipped: [] }
  let turnEndsMs = Date.now() + TURN_MS
  for (const one of listed) {
    if (Date.now() > turnEndsMs) {
      await new Promise((resolve) => setImmediate(resolve))
      options.signal?.throwIfAborted()
      turnEndsMs = Date.now() + TURN_MS
    }
    const seen = known(one, options) ?? (await lookAt(tree, one, options))
    if (seen === undefined) continue
    if ('why' in seen) found.skipped.push(seen)
    else found.entries.push(seen)
  }
  return found
}

/** Without any waiting, where nothing need be read. */
function known({ path, seen }: Listed, options: ScanOptions): Entry | undefined {
  if (!isFile(seen)) return undefined
  const id = options.known.get(path, seen)
  return id !== undefined || options.wants?.(path) === false ? entry(path, seen, id) : undefined
}

async function lookAt(tree: Tree, { path, seen }: Listed, options: ScanOptions): Promise<Entry | Skipped | undefined> {
  if (typeOf(seen) === constants.S_IFLNK) return link(tree, path, seen)
  if (!isFile(seen)) return { path, why: `it is a ${kindOf(seen)}` }
  for (let attempt = 1; ; attempt++) {
    try {
      const now = await contentOf(tree, path, options.known)
      return now === undefined || now === 'special' ? undefined : entry(path, now.stats, now.id)
    } catch (error) {
      if (isDenied(error)) return { path, why: 'it may not be read' }
      if (!(error instanceof ChangedMeanwhile)) throw error
      if (attempt === TRIES) return { path, why: 'it changes all the time' }
    }
  }
}

function link(tree: Tree, path: BytePath, seen: Seen): Entry | Skipped | undefined {
  try {
    const target = readlinkSync(tree.at(path), { encoding: 'latin1' })
    if (!staysInside(path, target)) return { path, why: 'the link leads out of the folder' }
    return entry(path, seen, linkId(target))
  } catch (error) {
    if (isNoWay(error)) return undefined
    throw error
  }
}

const isDenied = (error: unknown) =>
  error instanceof Error && 'code' in error && ['EACCES', 'EPERM', 'ENXIO', 'EIO'].includes(String(error.code))

type Kind = Pick<Seen, 'mode'>
const typeOf = ({ mode }: Kind): number => mode & constants.S_IFMT
const isFile = (seen: Kind): boolean => typeOf(seen) === constants.S_IFREG

const entry = (path: BytePath, seen: Kind & Pick<Seen, 'size'>, id: ContentId | undefined): Entry => ({
  path,
  id,
  mode: isFile(seen) ? seen.mode & 0o777 : 0o777,
  size: isFile(seen) ? seen.size : 0,
})

function kindOf(seen: Kind): string {
  if (typeOf(seen) === constants.S_IFIFO) return 'fifo'
  return typeOf(seen) === constants.S_IFSOCK ? 'socket' : 'device'
}

/** Of what counts in a manifest, which must be sorted: two that have the same digest say the same. */
export function digestOf(entries: Iterable<Pick<Entry, 'path' | 'id' | 'mode'>>): string {
  const digest = createHash('sha256')
  let text = ''
  for (const { path, id, mode } of entries) {
    text += `${path}\0${id}\0${mode}\n`
    if (text.length < 65_536) continue
    digest.update(text, 'latin1')
    text = ''
  }
  return digest.update(text, 'latin1').digest('hex')
}
