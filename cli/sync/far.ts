/** The far folder: what the task's agent is asked, and its answers, which are not to be trusted. */

import type { z } from 'zod'
import { type ContentId, isLinkId, targetOf } from '../../host/tree/content.ts'
import { type BlockWriter, BrokenFrames, FrameReader } from '../../host/tree/frames.ts'
import { isLeftOut, type Selection } from '../../host/tree/list.ts'
import { type BytePath, fromWire, refusedPath, staysInside, toWire } from '../../host/tree/names.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import {
  SyncAnswer,
  SyncEnd,
  SyncEntry,
  SyncFetched,
  SyncManifestHead,
  type SyncManifestRequest,
  type SyncOperation,
  type SyncResult,
} from '../../protocol/sync.ts'
import type { Ask } from './ask.ts'
import type { FarEntry } from './memory.ts'

/** The first line of a manifest names what cannot travel. */
const MAX_HEAD_BYTES = 8 * 1024 ** 2

export interface FarFolder {
  ask: Ask
  taskId: string
  folder: BytePath
  signal: AbortSignal
}

export interface Skipped {
  path: BytePath
  why: string
}

export interface Manifest {
  exists: boolean
  digest: string
  /** Undefined when it is the one that was known. */
  entries: Map<BytePath, FarEntry> | undefined
  skipped: Skipped[]
}

export async function readManifest(
  far: FarFolder,
  selection: Selection,
  asked: Pick<SyncManifestRequest, 'known' | 'paths' | 'waitSeconds'>,
): Promise<Manifest> {
  const { ignore, exclude, include } = selection
  const request: SyncManifestRequest = {
    folder: toWire(far.folder),
    ignore,
    exclude: [...exclude],
    include: [...include],
    ...asked,
  }
  const body = { type: 'application/json', content: JSON.stringify(request) }
  const lines = new FrameReader(await far.ask(routes.syncManifest, body, far.signal), MAX_HEAD_BYTES)
  const head = checked(SyncManifestHead.safeParse(await lines.line()))
  const skipped = head.skipped.map(({ path, why }) => ({ path: fromWire(path), why }))
  if (head.unchanged) return { exists: head.exists, digest: head.digest, entries: undefined, skipped }
  const entries = new Map<BytePath, FarEntry>()
  const isOut = isLeftOut(exclude)
  for (let count = 0; ; count++) {
    const line = await lines.line()
    if (line === undefined && count === head.entries) break
    const { path: wire, ...entry } = checked(SyncEntry.safeParse(line))
    const path = fromWire(wire)
    const why = refusedEntry(path, entry.id as ContentId)
    if (why === undefined && isOut(path)) continue
    if (why === undefined) entries.set(path, { ...entry, id: entry.id as ContentId })
    else skipped.push({ path, why })
  }
  return { exists: head.exists, digest: head.digest, entries, skipped }
}

function refusedEntry(path: BytePath, id: ContentId): string | undefined {
  const refused = refusedPath(path)
  if (refused !== undefined) return refused
  return isLinkId(id) && !staysInside(path, targetOf(id)) ? 'the link leads out of the folder' : undefined
}

export interface Fetched {
  id: ContentId
  size: number
  mode: number
  mtimeMs: number
}

/**
 * Hands every file to `take`, in the order asked for; undefined for one that is not there any more.
 * @param take what it leaves of a file's bytes is skipped
 */
export async function fetchFiles(
  far: FarFolder,
  paths: readonly BytePath[],
  take: (path: BytePath, file: Fetched | undefined, frames: FrameReader) => Promise<void>,
): Promise<void> {
  const content = JSON.stringify({ folder: toWire(far.folder), paths: paths.map(toWire) })
  const frames = new FrameReader(await far.ask(routes.syncFetch, { type: 'application/json', content }, far.signal))
  for (const path of paths) {
    const head = checked(SyncFetched.safeParse(await frames.line()))
    if ('end' in head) throw strange()
    await take(path, 'missing' in head ? undefined : { ...head, id: head.id as ContentId }, frames)
  }
  checked(SyncEnd.safeParse(await frames.line()))
}

/** @param fill writes lines and bytes, without the first and the last line. @returns one result for each operation */
export async function applyFiles(far: FarFolder, fill: (out: BlockWriter) => Promise<void>): Promise<SyncResult[]> {
  const content = async (out: BlockWriter) => {
    out.write(`${JSON.stringify({ folder: toWire(far.folder) })}\n`)
    await fill(out)
    out.write(operationLine({ op: 'end' }))
  }
  const body = { type: 'application/octet-stream', content }
  const lines = new FrameReader(await far.ask(routes.syncApply, body, far.signal))
  const results: SyncResult[] = []
  let [value, result]: [unknown, z.infer<typeof SyncAnswer> | undefined] = [undefined, undefined]
  for (;;) {
    const line = await lines.line()
    if (result === undefined || line !== value) [value, result] = [line, checked(SyncAnswer.safeParse(line))]
    if ('end' in result) return results
    results.push(result)
  }
}

export const operationLine = (operation: SyncOperation): string => `${JSON.stringify(operation)}\n`

/** Worth another try: the connection, not the answer, was at fault. */
export function isLoss(error: unknown): boolean {
  if (error instanceof BrokenFrames) return true
  return (
    error instanceof RclaudeError &&
    ['unavailable', 'limit', 'agent_offline', 'agent_failed', 'agent_timeout'].includes(error.code)
  )
}

function checked<T>(parsed: { success: true; data: T } | { success: false; error: unknown }): T {
  if (parsed.success) return parsed.data
  throw strange(parsed.error)
}

const strange = (cause?: unknown) =>
  new RclaudeError('agent_failed', "the agent's answer has an unknown shape, or was cut", { cause })
