/**
 * What both folders held when they were last brought together, and what was seen of each since: without it nobody could say on
 * which side a file changed. Lost or damaged it costs reading and caution, never a file: what differs then is a conflict.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ContentId, ContentMemory } from '../../host/tree/content.ts'
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
  agreed = new Map<BytePath, Agreed>()
  far = new Map<BytePath, FarEntry>()
  readonly near = new ContentMemory(MAX_KNOWN)

  /** Of the far manifest as it is remembered. */
  farDigest(): string {
    const sorted = [...this.far].sort(([a], [b]) => byBytes(a, b))
    return digestOf(sorted.map(([path, { id, mode }]) => ({ path, id, mode })))
  }
}

/** [path, agreed, its near and far mode, far, its mode and size, near tag, near]; `=` is the id agreed on. */
type Row = [BytePath, string, number, number, string, number, number, string, string]

export const fileOf = (world: World, { gateway, taskId, folder, directory }: Pair, ending: string): string => {
  const key = createHash('sha256')
    .update(JSON.stringify([gateway, taskId, folder, directory]))
    .digest('hex')
  return join(stateDirectory(world), 'sync', `${key.slice(0, 32)}.${ending}`)
}

/** An empty one when there is none, or none that is whole. */
export async function readMemory(file: string): Promise<{ memory: Memory; text: string }> {
  const memory = new Memory()
  const text = await readFile(file, 'utf8').catch(() => '')
  const body = text.slice(text.indexOf('\n') + 1)
  if (text.slice(0, text.indexOf('\n')) !== headOf(body)) return { memory, text: '' }
  for (const [path, agreed, nearMode, farMode, far, mode, size, tag, near] of JSON.parse(body) as Row[]) {
    const idOf = (id: string) => (id === '=' ? agreed : id) as ContentId
    if (agreed !== '') memory.agreed.set(path, { id: agreed as ContentId, nearMode, farMode })
    if (far !== '') memory.far.set(path, { id: idOf(far), mode, size })
    if (tag !== '') memory.near.put(path, tag, idOf(near))
  }
  return { memory, text }
}

/** Writes nothing when it would be the same. @returns what the file holds now */
export async function writeMemory(file: string, memory: Memory, before: string): Promise<string> {
  const seen = new Map(memory.near.entries())
  const paths = new Set([...memory.agreed.keys(), ...memory.far.keys(), ...seen.keys()])
  const rows: Row[] = []
  for (const path of [...paths].sort(byBytes)) {
    const agreed = memory.agreed.get(path)
    const far = memory.far.get(path)
    const near = seen.get(path)
    const short = (id: ContentId | undefined) => (id === undefined ? '' : id === agreed?.id ? '=' : id)
    rows.push([
      path,
      agreed?.id ?? '',
      agreed?.nearMode ?? 0,
      agreed?.farMode ?? 0,
      short(far?.id),
      far?.mode ?? 0,
      far?.size ?? 0,
      near?.tag ?? '',
      short(near?.id),
    ])
  }
  const body = JSON.stringify(rows)
  const text = `${headOf(body)}\n${body}`
  if (text !== before) await writeOwnFile(file, text)
  return text
}

/** It is our own and nobody else's to write: a checksum is enough to know that it is whole. */
const headOf = (body: string): string => `rclaude sync ${VERSION} ${createHash('sha256').update(body).digest('hex')}`
