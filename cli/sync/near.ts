/** The near folder: which files take part, what they hold, and how they are sent. */
import { mkdirSync, realpathSync, statSync } from 'node:fs'
import {
  ChangedMeanwhile,
  type ContentId,
  contentOf,
  isLinkId,
  isUnchanged,
  type KnownContent,
  openFile,
  readSmall,
  SMALL_BYTES,
} from '../../host/tree/content.ts'
import { isInRepository, listTree, look, type RunGit, type Selection, TooManyPaths } from '../../host/tree/list.ts'
import { type BytePath, toWire } from '../../host/tree/names.ts'
import { deniedAt, type Entry, type Skipped, scan } from '../../host/tree/scan.ts'
import { codeOf, Tree } from '../../host/tree/tree.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { git } from '../workspace/git.ts'
import { operationLine } from './far.ts'
import type { NearEntry } from './plan.ts'

export interface NearScan {
  entries: Map<BytePath, Entry>
  skipped: Skipped[]
}

/** Undefined when there is none. @throws {RclaudeError} `invalid` when it is no folder */
export function openNear(directory: string): Tree | undefined {
  try {
    if (!statSync(directory).isDirectory()) throw new RclaudeError('invalid', `${directory} is not a folder`)
    return Tree.open(directory)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    if (codeOf(error) === 'ENOTDIR') throw new RclaudeError('invalid', `${directory} is not a folder`)
    throw error
  }
}

export function makeNear(directory: string): Tree {
  mkdirSync(directory, { recursive: true })
  return Tree.open(realpathSync(directory))
}

/** Looks at every file; the ids are those that are known from before. */
export async function scanNear(
  tree: Tree,
  selection: Selection,
  known: KnownContent,
  signal: AbortSignal,
): Promise<NearScan> {
  try {
    const denied: Skipped[] = []
    const listed = await listTree(tree, selection, userGit, (path) => denied.push(deniedAt(path)))
    const { entries, skipped } = await scan(tree, listed, { known, wants: () => false, signal })
    return { entries: new Map(entries.map((entry) => [entry.path, entry])), skipped: [...denied, ...skipped] }
  } catch (error) {
    if (!(error instanceof TooManyPaths)) throw error
    throw new RclaudeError(
      'too_large',
      `the folder holds ${error.message}: name one inside it, or leave some out with --exclude`,
    )
  }
}

/** Reads those whose ids are wanted and not known. What changes all the time is left out of this pass. */
export async function fillIds(
  tree: Tree,
  near: NearScan,
  known: KnownContent,
  wants: (path: BytePath) => boolean,
  signal: AbortSignal,
): Promise<void> {
  const wanted: BytePath[] = []
  for (const [path, { id }] of near.entries) if (id === undefined && wants(path)) wanted.push(path)
  const { entries, skipped } = await scan(
    tree,
    look(tree, wanted, (path) => near.skipped.push(deniedAt(path))),
    { known, signal },
  )
  for (const path of wanted) near.entries.delete(path)
  for (const entry of entries) near.entries.set(entry.path, entry)
  near.skipped.push(...skipped)
}

const userGit: RunGit = async (cwd, args) => {
  if (!isInRepository(realpathSync(cwd).toString())) return undefined
  try {
    return (await git(args, { mode: 'user', cwd: cwd.toString() })).stdout
  } catch {
    return undefined // no repository, or no git
  }
}

export interface Sent {
  id: ContentId
  size: number
}

/**
 * One file as an operation and its bytes. It never throws: a failure of ours must not look like one of the connection.
 * @param told before the first byte, or why there is none; `changed` when it is not what it was any more
 */
export async function* sendFile(
  tree: Tree,
  path: BytePath,
  { near, expect }: { near: NearEntry; expect: ContentId | undefined },
  known: KnownContent,
  scratch: Buffer,
  told: (what: Sent | 'changed' | Error) => void,
): AsyncGenerator<string | Uint8Array> {
  const head = (id: ContentId, size: number, mtimeMs: number) => {
    told({ id, size })
    return operationLine({ op: 'put', path: toWire(path), id, size, mode: near.mode, mtimeMs, expect: expect ?? null })
  }
  const isStale = (id: ContentId) => near.id !== undefined && near.id !== id
  try {
    const stats = tree.look(path)
    if (stats?.isFile() && stats.size <= SMALL_BYTES) {
      const { bytes, id, stats: read } = readSmall(tree, path, scratch)
      if (isStale(id)) return told('changed')
      known.set(path, read, id)
      yield head(id, bytes.length, read.mtimeMs)
      return yield bytes
    }
    const now = await contentOf(tree, path, known)
    if (now === undefined || now === 'special' || isStale(now.id)) return told('changed')
    if (isLinkId(now.id)) return yield head(now.id, 0, now.stats.mtimeMs)
    const file = openFile(tree, path)
    try {
      if (!isUnchanged(file.stats, now.stats)) return told('changed')
      yield head(now.id, file.stats.size, file.stats.mtimeMs)
      yield* exactly(file.stats.size, file.pieces())
    } finally {
      file.close()
    }
  } catch (error) {
    const isGone = error instanceof ChangedMeanwhile || codeOf(error) === 'ENOENT'
    told(isGone ? 'changed' : (error as Error))
  }
}

/** What was announced must follow; the far side sees by its hash that it is not the file. */
async function* exactly(size: number, pieces: AsyncIterable<Buffer>): AsyncGenerator<Uint8Array> {
  let sent = 0
  try {
    for await (const piece of pieces) {
      sent += piece.length
      yield piece
    }
  } catch {
    // It changed, or cannot be read to its end.
  }
  for (const filler = Buffer.alloc(Math.min(size - sent, 65_536)); sent < size; ) {
    const part = filler.subarray(0, size - sent)
    sent += part.length
    yield part
  }
}

/** Whether two names that differ only in case are one file here. */
export function isCaseBlind(directory: string): boolean {
  const other = directory === directory.toUpperCase() ? directory.toLowerCase() : directory.toUpperCase()
  try {
    return other !== directory && statSync(other).ino === statSync(directory).ino
  } catch {
    return false
  }
}
