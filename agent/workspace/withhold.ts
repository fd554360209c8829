/**
 * Keeps secrets out of what is saved: a changed file that holds one stays as the snapshot has it, and everybody is told
 * which file and which line. What the snapshot's own version of the file held already is no news.
 */
import type { Withheld } from '../../protocol/event.ts'
import type { Leak, LeakScan, Leaks } from '../run/leaks.ts'
import { splitNul } from './git.ts'
import type { Repositories } from './repositories.ts'

const INDEX = 'withheld-index'
const GONE = '000000'
/** A nested repository's commit: no content of ours. */
const GITLINK = '160000'

/** What was found in blobs that were looked at before, by id. */
export type SeenBlobs = Map<string, readonly Leak[]>

interface Change {
  path: string
  oldMode: string
  oldId: string
  newId: string
}

export async function withhold(
  repositories: Repositories,
  trees: { snapshot: string; work: string },
  leaks: Leaks,
  seen: SeenBlobs,
  signal?: AbortSignal,
): Promise<{ tree: string; withheld: Withheld[] }> {
  if (leaks.isEmpty || trees.snapshot === trees.work) return { tree: trees.work, withheld: [] }
  const changes = await changedFiles(repositories, trees, signal)
  await look(
    repositories,
    changes.map(({ newId }) => newId),
    leaks,
    seen,
    signal,
  )
  const suspects = changes.filter(({ newId }) => (seen.get(newId) ?? []).length > 0)
  const before = suspects.filter(({ oldMode }) => oldMode !== GONE && oldMode !== GITLINK)
  await look(
    repositories,
    before.map(({ oldId }) => oldId),
    leaks,
    seen,
    signal,
  )

  const held = changes.flatMap((change) => {
    const path = Buffer.from(change.path, 'latin1').toString()
    const named = leaks.in(path)
    if (named !== undefined && change.oldMode === GONE) return [{ change, told: { path, secret: named.secret } }]
    const known = new Set((seen.get(change.oldId) ?? []).map(({ secret }) => secret))
    const leak = (seen.get(change.newId) ?? []).find(({ secret }) => !known.has(secret))
    return leak === undefined ? [] : [{ change, told: { path, ...leak } }]
  })
  if (held.length === 0) return { tree: trees.work, withheld: [] }
  const tree = await restored(
    repositories,
    trees.work,
    held.map(({ change }) => change),
    signal,
  )
  return { tree, withheld: held.map(({ told }) => told) }
}

export const withheldText = ({ path, line, secret }: Withheld): string =>
  `${path}${line === undefined ? '' : `:${line}`} holds the secret ${secret}: the file is left out of what is saved`

async function changedFiles(
  repositories: Repositories,
  { snapshot, work }: { snapshot: string; work: string },
  signal: AbortSignal | undefined,
): Promise<Change[]> {
  const args = ['diff-tree', '-r', '-z', '--raw', '--no-renames', '--no-abbrev', snapshot, work]
  const fields = splitNul((await repositories.daemon(args, { signal })).stdout)
  const changes: Change[] = []
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const [oldMode = '', newMode = '', oldId = '', newId = ''] = (fields[at] ?? '').slice(1).split(' ')
    if (newMode !== GONE && newMode !== GITLINK) changes.push({ path: fields[at + 1] ?? '', oldMode, oldId, newId })
  }
  return changes
}

/** Reads those blobs that were not seen yet, all with one git. */
async function look(
  repositories: Repositories,
  ids: readonly string[],
  leaks: Leaks,
  seen: SeenBlobs,
  signal: AbortSignal | undefined,
): Promise<void> {
  const wanted = [...new Set(ids)].filter((id) => !seen.has(id))
  if (wanted.length === 0) return
  const batch = new BatchReader(leaks, seen)
  await repositories.daemon(['cat-file', '--batch', '--buffer'], {
    input: Buffer.from(wanted.map((id) => `${id}\n`).join('')),
    onOutput: (chunk) => batch.push(chunk),
    signal,
  })
  const missing = wanted.find((id) => !seen.has(id))
  if (missing !== undefined) throw new Error(`${missing} could not be looked through for secrets`)
}

/** The output of `git cat-file --batch`: `id type size`, the content, an empty line. */
class BatchReader {
  readonly #leaks: Leaks
  readonly #seen: SeenBlobs
  #header = ''
  #blob: { id: string; left: number; scan: LeakScan } | undefined

  constructor(leaks: Leaks, seen: SeenBlobs) {
    this.#leaks = leaks
    this.#seen = seen
  }

  push(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length) at = this.#blob === undefined ? this.#readHeader(chunk, at) : this.#readBlob(chunk, at)
  }

  #readHeader(chunk: Buffer, at: number): number {
    const end = chunk.indexOf(0x0a, at)
    this.#header += chunk.toString('latin1', at, end < 0 ? chunk.length : end)
    if (end < 0) return chunk.length
    const [id = '', type, size] = this.#header.split(' ')
    this.#header = ''
    // The line end behind a content reads as an empty header; a missing object has no size.
    if (type === 'blob') this.#blob = { id, left: Number(size), scan: this.#leaks.scan() }
    if (this.#blob?.left === 0) this.#finish()
    return end + 1
  }

  #readBlob(chunk: Buffer, at: number): number {
    const blob = this.#blob
    if (blob === undefined) return at
    const piece = chunk.subarray(at, at + blob.left)
    blob.scan.push(piece)
    blob.left -= piece.length
    if (blob.left === 0) this.#finish()
    return at + piece.length
  }

  #finish(): void {
    if (this.#blob !== undefined) this.#seen.set(this.#blob.id, this.#blob.scan.end())
    this.#blob = undefined
  }
}

/** The tree with these files as they were. */
async function restored(
  repositories: Repositories,
  tree: string,
  changes: readonly Change[],
  signal: AbortSignal | undefined,
): Promise<string> {
  await repositories.forget(INDEX, `${INDEX}.lock`)
  const run = (args: string[], input?: string) =>
    repositories.reading(repositories.work, INDEX, args, {
      signal,
      ...(input !== undefined && { input: Buffer.from(input, 'latin1') }),
    })
  await run(['read-tree', tree])
  // A mode of 0 removes the entry.
  const lines = changes.map(({ path, oldMode, oldId }) => `${oldMode === GONE ? '0' : oldMode} ${oldId}\t${path}\0`)
  await run(['update-index', '-z', '--index-info'], lines.join(''))
  return (await run(['write-tree'])).stdout.trim()
}
