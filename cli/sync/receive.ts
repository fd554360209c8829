/** What comes from the far folder: files are fetched as one stream and placed, each only in place of what was seen here. */
import { type ContentId, idOfBytes, isLinkId, SMALL_BYTES } from '../../host/tree/content.ts'
import type { FrameReader } from '../../host/tree/frames.ts'
import type { BytePath } from '../../host/tree/names.ts'
import { changeMode, type Placed, type Placing, placeFile, placeLink, remove } from '../../host/tree/place.ts'
import { type Fetched, fetchFiles } from './far.ts'
import type { Action } from './plan.ts'
import { batches, type Run } from './run.ts'

type Fetching = Extract<Action, { do: 'receive' } | { do: 'override' }>
type Changing = Extract<Action, { do: 'delete-near' } | { do: 'mode-near' }>

/** @returns those whose far version is safe beside ours, so that ours may replace it */
export async function receiveFiles(
  run: Run,
  actions: readonly Fetching[],
): Promise<Extract<Action, { do: 'override' }>[]> {
  const saved: Extract<Action, { do: 'override' }>[] = []
  for (const batch of batches(actions)) {
    let at = 0
    await fetchFiles(
      run.far,
      batch.map(({ path }) => path),
      async (path, file, frames) => {
        const action = batch[at++]
        if (action === undefined) return
        if (file === undefined || file.id !== action.far.id) {
          if (file !== undefined) frames.pieces(file.size)
          run.tally.again.push(path)
        } else if (action.do === 'receive') await receive(run, action, file, frames)
        else if (await saveBeside(run, path, file, frames)) saved.push(action)
      },
    )
  }
  return saved
}

async function receive(
  run: Run,
  action: Fetching & { do: 'receive' },
  file: Fetched,
  frames: FrameReader,
): Promise<void> {
  const { path } = action
  const copy = action.keep === undefined ? undefined : conflictName(run, path, action.keep)
  const placed = await place(run, path, action.expect, file, frames, copy)
  if (!settle(run, path, placed)) return
  run.memory.agree(path, { id: file.id, nearMode: modeHere(run, file), farMode: file.mode })
  if (copy !== undefined) run.tally.conflicts.push({ path, message: 'the version of here was kept beside', copy })
  if (placed.done !== 'applied') return
  run.tally.received.files++
  run.tally.received.bytes += file.size
  run.onDone('received', path)
}

async function saveBeside(run: Run, path: BytePath, file: Fetched, frames: FrameReader): Promise<boolean> {
  const copy = conflictName(run, path, 'remote')
  const placed = await place(run, copy, undefined, file, frames)
  if (!settle(run, path, placed)) return false
  run.tally.conflicts.push({ path, message: 'the version of there was kept beside', copy })
  return true
}

/** A link has none of its own. */
const modeHere = ({ umask }: Run, { id, mode }: Fetched): number => (isLinkId(id) ? mode : mode & ~umask)

async function place(
  run: Run,
  path: BytePath,
  expect: ContentId | undefined,
  file: Fetched,
  frames: FrameReader,
  keepAs?: BytePath,
): Promise<Placed> {
  const where: Placing = { tree: run.tree, path, known: run.memory.near, expect }
  if (isLinkId(file.id)) return await placeLink(where, file.id, keepAs)
  const facts = { id: file.id, mode: modeHere(run, file), mtimeMs: file.mtimeMs, keepAs }
  if (file.size > SMALL_BYTES) return await placeFile(where, facts, frames.pieces(file.size))
  const bytes = await frames.bytes(file.size)
  if (idOfBytes(bytes) !== file.id) return { done: 'error', code: 'changed', message: 'it changed while it was read' }
  return await placeFile(where, facts, bytes)
}

export async function changeNear(run: Run, actions: readonly Changing[]): Promise<void> {
  for (const action of actions) {
    const { path, expect } = action
    const where: Placing = { tree: run.tree, path, known: run.memory.near, expect }
    if (action.do === 'delete-near') {
      if (!settle(run, path, await remove(where))) continue
      run.memory.agree(path, undefined)
      run.tally.deleted.here++
      run.onDone('deleted here', path)
    } else {
      const mode = action.mode & ~run.umask
      const placed = await changeMode(where, mode)
      if (!settle(run, path, placed)) continue
      run.memory.agree(path, { id: expect, nearMode: mode, farMode: action.mode })
      if (placed.done !== 'applied') continue
      run.tally.modes++
      run.onDone('mode set here', path)
    }
  }
}

/** @returns whether it is now as it should be */
function settle(run: Run, path: BytePath, placed: Placed): boolean {
  if (placed.done === 'applied' || placed.done === 'same') return true
  if (placed.done === 'conflict' || placed.code === 'changed') run.tally.again.push(path)
  else run.tally.failed.push({ path, message: `here: ${placed.message}` })
  if (placed.done === 'error' && placed.code === 'disk_full') run.tally.full = true
  run.reasons.set(path, `here: ${placed.message}`)
  return false
}

/** A name beside it that is free. */
function conflictName(run: Run, path: BytePath, side: 'local' | 'remote'): BytePath {
  const time = run
    .now()
    .toISOString()
    .replace(/[-:]|\..*/g, '')
  const base = `${path}.conflict-${side}-${time}`
  for (let count = 1; ; count++) {
    const name = count === 1 ? base : `${base}-${count}`
    if (run.tree.look(name) === undefined) return name
  }
}
