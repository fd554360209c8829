/**
 * What both folders held when they were last brought together, and what was seen of each since: without it nobody could say on
 * which side a file changed. Lost or damaged it costs reading and caution, never a file: what differs then is a conflict.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ContentId, ContentMemory, type Facts } from '../../host/tree/content.ts'
import { byBytes } from '../../host/tree/list.ts'
import type { BytePath } from '../../host/tree/names.ts'
import { digestOf } from '../../host/tree/scan.ts'
import { stateDirectory } from '../directories.ts'
import { writeOwnFile } from '../settings.ts'
import type { World } from '../world.ts'

const VERSION = 1
const MAX_KNOWN = 2_000_000

/** Whose folders they are. */
export interface Pair {
  gateway: string
  taskId: string
  folder: BytePath
  directory: string
}

export interface Agreed {
  id: ContentId
  /** Permission bits on each side: a disk may not be able to hold the other's. */
  nearMode: number
  farMode: number
}

export interface FarEntry {
  id: ContentId
  mode: number
  size: number
}

export class Memory {
  readonly agreed = new Map<BytePath, Agreed>()
  readonly near = new NearMemory(MAX_KNOWN, (path) => this.#touch(path))
  #far = new Map<BytePath, FarEntry>()
  #farDigest: string | undefined
  #unread: string | undefined
  /** Rows as they were read, of paths of which nothing has changed: they are written as they are. */
  readonly #rowsRead = new Map<BytePath, string>()
  #isChanged = false

  /** @param saved what `text` gave */
  constructor(saved?: { farDigest: string; rows: string }) {
    this.#unread = saved?.rows
    this.#farDigest = saved?.farDigest
  }

  /** To be called before anything but the digest is asked for: so the far side can be asked first. */
  load(): void {
    if (this.#unread === undefined) return
    const rows = JSON.parse(this.#unread) as Row[]
    const texts = this.#unread.slice(1, -1).split(BETWEEN_ROWS)
    this.#unread = undefined
    for (const [path, agreed, nearMode, farMode, far, mode, size, near, ...facts] of rows) {
      const idOf = (id: string) => (id === '=' ? agreed : id) as ContentId
      if (agreed !== '') this.agreed.set(path, { id: agreed as ContentId, nearMode, farMode })
      if (far !== '') this.#far.set(path, { id: idOf(far), mode, size })
      if (near !== '') this.near.put(path, asFacts(facts), idOf(near))
    }
    if (texts.length === rows.length) rows.forEach(([path], at) => void this.#rowsRead.set(path, texts[at] as string))
    this.#isChanged = false
  }

  get far(): ReadonlyMap<BytePath, FarEntry> {
    return this.#far
  }

  /** Of the far manifest as it is remembered. */
  get farDigest(): string {
    if (this.#farDigest === undefined) {
      const sorted = [...this.#far].sort(([a], [b]) => byBytes(a, b))
      this.#farDigest = digestOf(sorted.map(([path, { id, mode }]) => ({ path, id, mode })))
    }
    return this.#farDigest
  }

  get isChanged(): boolean {
    return this.#isChanged
  }

  #touch(path: BytePath): void {
    this.#rowsRead.delete(path)
    this.#isChanged = true
  }

  replaceFar(entries: Map<BytePath, FarEntry>, digest: string): void {
    this.#far = entries
    this.#farDigest = digest
    this.#rowsRead.clear()
    this.#isChanged = true
  }

  setFar(path: BytePath, entry: FarEntry | undefined): void {
    if (entry === undefined) this.#far.delete(path)
    else this.#far.set(path, entry)
    this.#farDigest = undefined
    this.#touch(path)
  }

  agree(path: BytePath, agreed: Agreed | undefined): void {
    if (agreed === undefined) this.agreed.delete(path)
    else this.agreed.set(path, agreed)
    this.#touch(path)
  }

  /** For a file; it is as it was read then. */
  text(): string {
    this.#isChanged = false
    const rows = `[${this.#rows().join(BETWEEN_ROWS)}]`
    return `${headOf(rows, this.farDigest)}\n${rows}`
  }

  #rows(): string[] {
    const paths = new Set([...this.agreed.keys(), ...this.#far.keys(), ...this.near.paths()])
    return Array.from(paths, (path) => this.#rowsRead.get(path) ?? this.#row(path))
  }

  /** A `Row` in JSON, put together by hand: as arrays they would cost more than all else that a sync of nothing does. */
  #row(path: BytePath): string {
    const agreed = this.agreed.get(path)
    const far = this.#far.get(path)
    const near = this.near.entry(path)
    const short = (id: ContentId | undefined) => (id === undefined ? '' : id === agreed?.id ? '=' : id)
    const { size, mtimeMs, ctimeMs, ino, dev } = near?.facts ?? NO_FACTS
    return (
      `[${JSON.stringify(path)},"${agreed?.id ?? ''}",${agreed?.nearMode ?? 0},${agreed?.farMode ?? 0},` +
      `"${short(far?.id)}",${far?.mode ?? 0},${far?.size ?? 0},` +
      `"${short(near?.id)}",${size},${mtimeMs},${ctimeMs},${ino},${dev}]`
    )
  }
}

/** What the near files held. */
class NearMemory extends ContentMemory {
  readonly #onChange: (path: BytePath) => void

  constructor(limit: number, onChange: (path: BytePath) => void) {
    super(limit)
    this.#onChange = onChange
  }

  override put(path: BytePath, facts: Facts, id: ContentId): void {
    super.put(path, facts, id)
    this.#onChange(path)
  }

  override delete(path: BytePath): void {
    super.delete(path)
    this.#onChange(path)
  }
}

/** Nothing that a row holds: JSON has no line end within a string. */
const BETWEEN_ROWS = ',\n'

type FactNumbers = [size: number, mtimeMs: number, ctimeMs: number, ino: number, dev: number]
/** `=` is the id agreed on. */
type Row = [
  path: BytePath,
  agreed: string,
  nearMode: number,
  farMode: number,
  far: string,
  mode: number,
  size: number,
  near: string,
  ...FactNumbers,
]

const NO_FACTS: Facts = { size: 0, mtimeMs: 0, ctimeMs: 0, ino: 0, dev: 0 }
const asFacts = ([size, mtimeMs, ctimeMs, ino, dev]: FactNumbers): Facts => ({ size, mtimeMs, ctimeMs, ino, dev })

export const fileOf = (world: World, { gateway, taskId, folder, directory }: Pair, ending: string): string => {
  const key = createHash('sha256')
    .update(JSON.stringify([gateway, taskId, folder, directory]))
    .digest('hex')
  return join(stateDirectory(world), 'sync', `${key.slice(0, 32)}.${ending}`)
}

/** An empty one when there is none, or none that is whole. */
export async function readMemory(file: string): Promise<Memory> {
  const text = await readFile(file, 'utf8').catch(() => '')
  const end = text.indexOf('\n')
  const rows = text.slice(end + 1)
  const farDigest = text.slice(0, Math.max(0, end)).split(' ').at(-1) ?? ''
  return end > 0 && text.startsWith(`${headOf(rows, farDigest)}\n`) ? new Memory({ farDigest, rows }) : new Memory()
}

/** Writes nothing when nothing changed. */
export async function writeMemory(file: string, memory: Memory): Promise<void> {
  if (memory.isChanged) await writeOwnFile(file, memory.text(), true)
}

/** It is our own and nobody else's to write: a checksum is enough to know that it is whole. */
const headOf = (rows: string, farDigest: string): string =>
  `rclaude-sync ${VERSION} ${createHash('sha256').update(rows).digest('hex')} ${farDigest}`
