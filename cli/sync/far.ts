/** The far folder: what the task's agent is asked, and its answers, which are not to be trusted. */

import { type ContentId, isLinkId, targetOf } from '../../host/tree/content.ts'
import { BrokenFrames, FrameReader, inBlocks } from '../../host/tree/frames.ts'
import { type BytePath, fromWire, refusedPath, staysInside, toWire } from '../../host/tree/names.ts'
import type { Client } from '../../protocol/client.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import type { AnyRoute } from '../../protocol/route.ts'
import { routes } from '../../protocol/routes.ts'
import {
  SyncEnd,
  SyncEntry,
  SyncFetched,
  SyncManifestHead,
  type SyncManifestRequest,
  type SyncOperation,
  SyncResult,
} from '../../protocol/sync.ts'
import type { FarEntry } from './memory.ts'

export interface FarFolder {
  client: Pick<Client, 'raw'>
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

export async function readManifest(far: FarFolder, asked: Omit<SyncManifestRequest, 'folder'>): Promise<Manifest> {
  const response = await ask(
    far,
    routes.syncManifest,
    JSON.stringify({ folder: toWire(far.folder), ...asked }),
    'application/json',
  )
  const lines = new FrameReader(bodyOf(response))
  const head = checked(SyncManifestHead.safeParse(await lines.line()))
  const skipped = head.skipped.map(({ path, why }) => ({ path: fromWire(path), why }))
  if (head.unchanged) return { exists: head.exists, digest: head.digest, entries: undefined, skipped }
  const entries = new Map<BytePath, FarEntry>()
  for (let count = 0; ; count++) {
    const line = await lines.line()
    if (line === undefined && count === head.entries) break
    const { path: wire, ...entry } = checked(SyncEntry.safeParse(line))
    const path = fromWire(wire)
    const why = refusedEntry(path, entry.id as ContentId)
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
  const body = JSON.stringify({ folder: toWire(far.folder), paths: paths.map(toWire) })
  const response = await ask(far, routes.syncFetch, body, 'application/json')
  const frames = new FrameReader(bodyOf(response))
  for (const path of paths) {
    const head = checked(SyncFetched.safeParse(await frames.line()))
    if ('end' in head) throw strange()
    await take(path, 'missing' in head ? undefined : { ...head, id: head.id as ContentId }, frames)
  }
  checked(SyncEnd.safeParse(await frames.line()))
}

/** @param pieces lines and bytes, without the first and the last line. @returns one result for each operation */
export async function applyFiles(far: FarFolder, pieces: AsyncIterable<string | Uint8Array>): Promise<SyncResult[]> {
  async function* whole() {
    yield `${JSON.stringify({ folder: toWire(far.folder) })}\n`
    yield* pieces
    yield operationLine({ op: 'end' })
  }
  const body = ReadableStream.from(inBlocks(whole()))
  const response = await ask(
    far,
    routes.syncApply,
    body as ReadableStream<Uint8Array<ArrayBuffer>>,
    'application/octet-stream',
  )
  const lines = new FrameReader(bodyOf(response))
  const results: SyncResult[] = []
  for (;;) {
    const line = await lines.line()
    if (SyncEnd.safeParse(line).success) return results
    results.push(checked(SyncResult.safeParse(line)))
  }
}

export const operationLine = (operation: SyncOperation): string => `${JSON.stringify(operation)}\n`

const ask = (
  { client, taskId, signal }: FarFolder,
  route: AnyRoute,
  rawBody: NonNullable<RequestInit['body']>,
  type: string,
): Promise<Response> => client.raw(route, { params: { taskId }, rawBody, headers: { 'content-type': type }, signal })

/** The answer's bytes. A connection that breaks is told apart from what our own disk says. */
async function* bodyOf(response: Response): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader()
  if (reader === undefined) return
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((cause: unknown) => {
        throw lost(cause)
      })
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => {})
  }
}

/** Worth another try: the connection, not the answer, was at fault. */
export const lost = (cause: unknown) =>
  new RclaudeError('unavailable', 'the connection to the gateway was lost', { cause })

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
