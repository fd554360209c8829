/** What goes to the far folder: deletes, modes and files as one stream, whose answer says what became of each. */
import { isLinkId, newScratch } from '../../host/tree/content.ts'
import type { BlockWriter } from '../../host/tree/frames.ts'
import { type BytePath, toWire } from '../../host/tree/names.ts'
import type { SyncResult } from '../../protocol/sync.ts'
import { applyFiles, operationLine } from './far.ts'
import type { Action } from './plan.ts'
import { batches, type Run } from './run.ts'
import { type Sent, sendFile } from './send-file.ts'

type Outward = Exclude<Action, { do: 'receive' } | { do: 'delete-near' } | { do: 'mode-near' }>

/** An operation that is on its way, in the order of the answer's lines. */
interface Pending {
  action: Outward
  sent?: Sent
}

/** Deletes go first: a file may take the name of a folder that they empty. */
export async function sendChanges(run: Run, actions: readonly Outward[]): Promise<void> {
  const rank = ({ do: what }: Outward) => (what === 'delete-far' ? 0 : 1)
  const sorted = [...actions].sort((a, b) => rank(a) - rank(b))
  for (const batch of batches(sorted)) {
    const pending: Pending[] = []
    const results = await applyFiles(run.far, (out) => writeOperations(run, batch, pending, out))
    for (const [index, { action, sent }] of pending.entries()) settle(run, action, sent, results[index])
  }
}

async function writeOperations(
  run: Run,
  actions: readonly Outward[],
  pending: Pending[],
  out: BlockWriter,
): Promise<void> {
  const scratch = newScratch()
  for (const action of actions) {
    const path = toWire(action.path)
    if (action.do === 'delete-far' || action.do === 'mode-far') {
      pending.push({ action })
      const { expect } = action
      out.write(
        operationLine(
          action.do === 'delete-far' ? { op: 'delete', path, expect } : { op: 'mode', path, mode: action.mode, expect },
        ),
      )
      continue
    }
    const going = sendFile({
      ...{ tree: run.tree, path: action.path, near: action.near, known: run.memory.near, out, scratch },
      expect: action.do === 'send' ? action.expect : action.far.id,
      told(what) {
        if (what === 'changed') run.tally.again.push(action.path)
        else if (what instanceof Error) run.tally.failed.push({ path: action.path, message: `here: ${what.message}` })
        else pending.push({ action, sent: what })
      },
    })
    if (going !== undefined) await going
  }
}

function settle(run: Run, action: Outward, sent: Sent | undefined, result: SyncResult | undefined): void {
  const { path } = action
  if (result === undefined || result.done === 'conflict' || result.code === 'changed') {
    run.tally.again.push(path)
    run.reasons.set(path, `there: ${result?.message ?? 'no answer'}`)
  } else if (result.done === 'error') {
    run.tally.failed.push({ path, message: `there: ${result.message ?? result.code ?? 'it failed'}` })
    run.tally.full ||= result.code === 'disk_full'
  } else if (action.do === 'delete-far') {
    run.memory.agree(path, undefined)
    run.memory.setFar(path, undefined)
    run.tally.deleted.there++
    run.onDone('deleted there', path)
  } else if (action.do === 'mode-far') agree(run, path, action.expect, action.mode, undefined)
  else if (sent !== undefined)
    agree(run, path, sent.id, action.near.mode, result.done === 'applied' ? sent : undefined, sent.size)
}

function agree(run: Run, path: BytePath, id: Sent['id'], mode: number, sent: Sent | undefined, size?: number): void {
  run.memory.agree(path, { id, nearMode: mode, farMode: mode })
  run.memory.setFar(path, { id, mode, size: isLinkId(id) ? 0 : (size ?? run.memory.far.get(path)?.size ?? 0) })
  if (sent !== undefined) {
    run.tally.sent.files++
    run.tally.sent.bytes += sent.size
    run.onDone('sent', path)
  } else if (size === undefined) {
    run.tally.modes++
    run.onDone('mode set there', path)
  }
}
