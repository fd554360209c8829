/**
 * Many writes and deletes in one upload. What was done is said at the end, one line each, since few clients read an answer
 * while they send; it is bounded by the number of operations of one upload.
 */
import type { Context } from 'hono'
import { type ContentId, idOfBytes, isLinkId, SMALL_BYTES, targetOf } from '../../host/tree/content.ts'
import { BrokenFrames, FrameReader } from '../../host/tree/frames.ts'
import { fromWire, refusedPath, staysInside } from '../../host/tree/names.ts'
import { changeMode, type Placed, type Placing, placeFile, placeLink, remove } from '../../host/tree/place.ts'
import type { Tree } from '../../host/tree/tree.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { MAX_SYNC_FILES, SyncApplyHead, SyncOperation, type SyncResult, type WirePath } from '../../protocol/sync.ts'
import { parse } from './problem.ts'
import { type AgentEnv, stream, uploadOf } from './send.ts'
import type { SyncFolder } from './sync-folder.ts'

/** The gateway waits so long for an answer's head, and twice that at most. */
const HEAD_AFTER_MS = 20_000

type Operation = Exclude<SyncOperation, { op: 'end' }>

/** @throws BrokenFrames, RclaudeError */
export async function applyUpload(c: Context<AgentEnv>, folderOf: (path: WirePath) => SyncFolder): Promise<Response> {
  const frames = new FrameReader(uploadOf(c))
  const head = parse('the first line', SyncApplyHead, await frames.line())
  const folder = folderOf(head.folder)
  const tree = folder.open(true)
  if (tree === undefined) throw new RclaudeError('not_found', 'there is no such folder')
  const applying = applyAll(frames, tree, folder).finally(() => tree.close())
  // What goes wrong early gets a status of its own; a long upload gets its answer's head before somebody thinks us dead.
  await Promise.race([applying, soon()])
  return await stream(c, { 'content-type': 'application/x-ndjson' }, async (answer) => {
    const results = await applying
    await answer.write([...results, { end: true }].map((result) => `${JSON.stringify(result)}\n`).join(''))
    return undefined
  })
}

const soon = () => new Promise<void>((resolve) => void setTimeout(resolve, HEAD_AFTER_MS).unref())

async function applyAll(frames: FrameReader, tree: Tree, folder: SyncFolder): Promise<SyncResult[]> {
  const results: SyncResult[] = []
  let isFull = false
  for (;;) {
    const line = await frames.line()
    if (line === undefined) throw new BrokenFrames('it ended before its last line')
    const operation = parse(`line ${results.length + 2}`, SyncOperation, line)
    if (operation.op === 'end') return results
    if (results.length >= MAX_SYNC_FILES)
      throw new RclaudeError('too_large', `an upload takes ${MAX_SYNC_FILES} files at most: send the rest in another`)
    const result: SyncResult = isFull && operation.op === 'put' ? FULL : await apply(operation, frames, tree, folder)
    if (isFull && operation.op === 'put') await pass(operation, frames)
    isFull ||= result.done === 'error' && result.code === 'disk_full'
    results.push(result)
  }
}

/** After the first that had no room the others are not tried. */
const FULL: Placed = { done: 'error', code: 'disk_full', message: 'no space is left; delete something and try again' }

async function apply(
  operation: Operation,
  frames: FrameReader,
  tree: Tree,
  { known }: SyncFolder,
): Promise<SyncResult> {
  const path = fromWire(operation.path)
  const refused = refusedPath(path)
  if (refused !== undefined) {
    await pass(operation, frames)
    return { done: 'error', code: 'invalid', message: refused }
  }
  const place: Placing = { tree, path, known, expect: (operation.expect ?? undefined) as ContentId | undefined }
  if (operation.op === 'delete') return await remove(place)
  if (operation.op === 'mode') return await changeMode(place, operation.mode)
  return await put(operation, place, frames)
}

async function put(operation: Operation & { op: 'put' }, place: Placing, frames: FrameReader): Promise<SyncResult> {
  const id = operation.id as ContentId
  if (isLinkId(id)) {
    await pass(operation, frames)
    if (!staysInside(place.path, targetOf(id)))
      return { done: 'error', code: 'invalid', message: 'the link leads out of the folder' }
    return await placeLink(place, id)
  }
  const { size, mode, mtimeMs } = operation
  if (size > SMALL_BYTES) return await placeFile(place, { id, mode, mtimeMs }, frames.pieces(size))
  const bytes = await frames.bytes(size)
  if (idOfBytes(bytes) !== id)
    return { done: 'error', code: 'changed', message: 'its bytes are not those that were announced' }
  return await placeFile(place, { id, mode, mtimeMs }, bytes)
}

/** The bytes of what is not written; `line` skips them. */
async function pass(operation: Operation, frames: FrameReader): Promise<void> {
  if (operation.op === 'put') frames.pieces(operation.size)
}
