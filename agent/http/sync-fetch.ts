/** Many files in one answer, each with its SHA-256 before its bytes; one that changes meanwhile does not match it. */
import type { Context } from 'hono'
import {
  ChangedMeanwhile,
  contentOf,
  newScratch,
  openFile,
  type Present,
  readSmall,
  SMALL_BYTES,
} from '../../host/tree/content.ts'
import { inBlocks } from '../../host/tree/frames.ts'
import { type BytePath, refusedPath } from '../../host/tree/names.ts'
import { codeOf, type Tree } from '../../host/tree/tree.ts'
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
      for await (const block of inBlocks(frames(tree, folder, paths))) {
        if (answer.signal.aborted) break
        await answer.write(Buffer.from(block.buffer, block.byteOffset, block.length))
      }
      return undefined
    })
  } finally {
    tree.close()
  }
}

async function* frames(
  tree: Tree,
  folder: SyncFolder,
  paths: readonly BytePath[],
): AsyncGenerator<string | Uint8Array> {
  const scratch = newScratch()
  for (const path of paths) yield* framesOf(tree, folder, path, scratch)
  yield line({ end: true })
}

async function* framesOf(
  tree: Tree,
  { known }: SyncFolder,
  path: BytePath,
  scratch: Buffer,
): AsyncGenerator<string | Uint8Array> {
  const refused = refusedPath(path)
  if (refused !== undefined) return yield line({ missing: refused })
  let size: number
  try {
    const stats = tree.look(path)
    if (stats?.isFile() && stats.size <= SMALL_BYTES) {
      const small = readSmall(tree, path, scratch)
      known.set(path, small.stats, small.id)
      yield line(headOf(small))
      return yield small.bytes
    }
    const now = await contentOf(tree, path, known)
    if (now === undefined || now === 'special')
      return yield line({ missing: now === undefined ? 'it is not there any more' : 'it is neither file nor link' })
    yield line(headOf(now))
    if (now.stats.isSymbolicLink()) return
    size = now.stats.size
  } catch (error) {
    if (error instanceof ChangedMeanwhile) return yield line({ missing: error.message })
    const code = codeOf(error)
    if (code === 'UNKNOWN' || code.startsWith('ERR_')) throw error
    return yield line({ missing: `it cannot be read (${code})` })
  }
  yield* wholeOf(tree, path, size)
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
