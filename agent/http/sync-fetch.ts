/** Many files in one answer, each with its SHA-256 before its bytes; one that changes meanwhile does not match it. */
import type { Context } from 'hono'
import {
  ChangedMeanwhile,
  contentOf,
  type KnownContent,
  type Now,
  newScratch,
  openFile,
  type Present,
  readSmall,
  SMALL_BYTES,
  type SmallFile,
} from '../../host/tree/content.ts'
import { BlockWriter } from '../../host/tree/frames.ts'
import { type BytePath, refusedPath } from '../../host/tree/names.ts'
import { codeOf, isNoWay, type Tree } from '../../host/tree/tree.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import type { SyncFetched } from '../../protocol/sync.ts'
import { type AgentEnv, stream } from './send.ts'
import type { SyncFolder } from './sync-folder.ts'

export async function sendFiles(
  c: Context<AgentEnv>,
  folder: SyncFolder,
  paths: readonly BytePath[],
): Promise<Response> {
  const tree = folder.open(false)
  if (tree === undefined) throw new RclaudeError('not_found', 'there is no such folder in the workspace')
  try {
    return await stream(c, { 'content-type': 'application/octet-stream' }, async (answer) => {
      const out = new BlockWriter((block) => answer.write(block))
      const scratch = newScratch()
      for (const path of paths) {
        const going = writeFile(tree, folder, path, { out, scratch })
        if (going !== undefined) await going // small files come by thousands, and mostly there is nothing to wait for
        if (answer.signal.aborted) return undefined
      }
      out.write(line({ end: true }))
      await out.end()
      return undefined
    })
  } finally {
    tree.close()
  }
}

/** @returns what is to be awaited, if anything */
function writeFile(
  tree: Tree,
  { known }: SyncFolder,
  path: BytePath,
  { out, scratch }: { out: BlockWriter; scratch: Buffer },
): Promise<void> | undefined {
  const refused = refusedPath(path)
  if (refused !== undefined) return void out.write(line({ missing: refused }))
  let small: SmallFile
  try {
    const stats = tree.glance(path)
    if (!stats?.isFile() || stats.size > SMALL_BYTES) return writeOther(tree, known, path, out)
    small = readSmall(tree, path, scratch)
  } catch (error) {
    return void out.write(line({ missing: whyMissing(error) }))
  }
  known.set(path, small.stats, small.id)
  out.write(line(headOf(small)))
  out.write(small.bytes)
  return out.room()
}

async function writeOther(tree: Tree, known: KnownContent, path: BytePath, out: BlockWriter): Promise<void> {
  let now: Now
  try {
    now = await contentOf(tree, path, known)
  } catch (error) {
    return out.write(line({ missing: whyMissing(error) }))
  }
  if (now === undefined) return out.write(line({ missing: 'it is not there any more' }))
  if (now === 'special') return out.write(line({ missing: 'it is neither file nor link' }))
  out.write(line(headOf(now)))
  if (now.stats.isSymbolicLink()) return
  for await (const piece of wholeOf(tree, path, now.stats.size)) {
    out.write(piece)
    await out.room()
  }
}

/** @throws what is no fault of the file */
function whyMissing(error: unknown): string {
  if (error instanceof ChangedMeanwhile) return error.message
  if (isNoWay(error)) return 'it is not there any more'
  const code = codeOf(error)
  if (code === 'UNKNOWN' || code.startsWith('ERR_')) throw error
  return `it cannot be read (${code})`
}

/** So many bytes, whatever becomes of the file: what was announced must come, or the rest of the answer cannot be read. */
async function* wholeOf(tree: Tree, path: BytePath, size: number): AsyncGenerator<Uint8Array> {
  let sent = 0
  try {
    const file = openFile(tree, path)
    try {
      for await (const piece of file.pieces()) {
        const wanted = piece.subarray(0, size - sent)
        sent += wanted.length
        yield wanted
      }
    } finally {
      file.close()
    }
  } catch (error) {
    if (!(error instanceof ChangedMeanwhile) && codeOf(error) === 'UNKNOWN') throw error
  }
  const filler = Buffer.alloc(Math.min(size - sent, 65_536))
  for (; sent < size; sent += Math.min(filler.length, size - sent)) yield filler.subarray(0, size - sent)
}

const headOf = ({ id, stats }: Present): SyncFetched => ({
  id,
  size: stats.isFile() ? stats.size : 0,
  mode: stats.mode & 0o777,
  mtimeMs: stats.mtimeMs,
})

const line = (value: SyncFetched): string => `${JSON.stringify(value)}\n`
