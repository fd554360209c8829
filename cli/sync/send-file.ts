/** How a file or link of the near folder is sent: as an operation and its bytes. */
import {
  ChangedMeanwhile,
  type ContentId,
  contentOf,
  isLinkId,
  isUnchanged,
  type KnownContent,
  type OpenFile,
  openFile,
  type Present,
  readSmall,
  SMALL_BYTES,
  type SmallFile,
} from '../../host/tree/content.ts'
import type { BlockWriter } from '../../host/tree/frames.ts'
import { type BytePath, toWire } from '../../host/tree/names.ts'
import { isNoWay, type Tree } from '../../host/tree/tree.ts'
import { operationLine } from './far.ts'
import type { NearEntry } from './plan.ts'

export interface Sent {
  id: ContentId
  size: number
}

export interface Sending {
  tree: Tree
  path: BytePath
  /** As it was when it was compared. */
  near: NearEntry
  expect: ContentId | undefined
  known: KnownContent
  out: BlockWriter
  /** See `newScratch`. */
  scratch: Buffer
  /** Before the first byte, or why there is none; `changed` when it is not what it was any more. */
  told(what: Sent | 'changed' | Error): void
}

/**
 * It fails only when `out` does: a failure of ours must not look like one of the connection.
 * @returns what is to be awaited, if anything: small files come by thousands, and mostly there is nothing to wait for
 */
export function sendFile(sending: Sending): Promise<void> | undefined {
  const { tree, path, near, known, out, scratch } = sending
  if (near.size > SMALL_BYTES || (near.id !== undefined && isLinkId(near.id))) return sendOther(sending)
  let small: SmallFile
  try {
    small = readSmall(tree, path, scratch)
  } catch (error) {
    return fail(sending, error)
  }
  known.set(path, small.stats, small.id)
  if (!begin(sending, small, small.bytes.length)) return undefined
  out.write(small.bytes)
  return out.room()
}

/** A large file, or a link. */
async function sendOther(sending: Sending): Promise<void> {
  const { tree, path, known, out, told } = sending
  let now: Present
  let file: OpenFile | undefined
  try {
    const found = await contentOf(tree, path, known)
    if (found === undefined || found === 'special') return told('changed')
    now = found
    if (!isLinkId(now.id)) file = openFile(tree, path)
  } catch (error) {
    return fail(sending, error)
  }
  if (file === undefined) return void begin(sending, now, 0)
  try {
    if (!isUnchanged(file.stats, now.stats)) return told('changed')
    if (!begin(sending, now, file.stats.size)) return
    for await (const piece of exactly(file.stats.size, file.pieces())) {
      out.write(piece)
      await out.room()
    }
  } finally {
    file.close()
  }
}

/** @returns false when it is not what was compared */
function begin({ path, near, expect, out, told }: Sending, { id, stats }: Present, size: number): boolean {
  if (near.id !== undefined && near.id !== id) {
    told('changed')
    return false
  }
  told({ id, size })
  const { mtimeMs } = stats
  out.write(
    operationLine({ op: 'put', path: toWire(path), id, size, mode: near.mode, mtimeMs, expect: expect ?? null }),
  )
  return true
}

function fail({ told }: Sending, error: unknown): undefined {
  told(error instanceof ChangedMeanwhile || isNoWay(error) ? 'changed' : (error as Error))
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
