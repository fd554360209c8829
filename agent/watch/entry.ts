/** What a watch knows of a file or directory, as a tree. Names are kept as latin1 text, which holds any bytes. */
import type { BigIntStats, FSWatcher } from 'node:fs'
import type { DirectoryEntry } from '../../protocol/file.ts'
import { typeOf } from '../files/stats.ts'

export interface Entry {
  name: string
  /** Undefined for the watched directory itself. */
  parent: Directory | undefined
  type: DirectoryEntry['type']
  ino: bigint
  /** 0n where the file system does not keep it. */
  birthtimeNs: bigint
  size: bigint
  mtimeNs: bigint
  mode: bigint
}

export interface Directory extends Entry {
  children: Map<string, Entry>
  watcher: FSWatcher | undefined
}

export function newEntry(name: string, parent: Directory | undefined, stats: BigIntStats): Entry | Directory {
  const type = typeOf(stats)
  const entry = { name, parent, type, ...factsOf(stats) }
  return type === 'directory' ? { ...entry, children: new Map(), watcher: undefined } : entry
}

export const factsOf = (stats: BigIntStats) => ({
  ino: stats.ino,
  birthtimeNs: stats.birthtimeNs,
  size: stats.size,
  mtimeNs: stats.mtimeNs,
  mode: stats.mode,
})

export const isDirectory = (entry: Entry): entry is Directory => 'children' in entry

/** The same file, whatever its name. Inodes are used again, so the time of birth counts, or content that looks untouched. */
export function isSame(a: Entry, b: Entry): boolean {
  if (a.ino !== b.ino || a.type !== b.type || a.birthtimeNs !== b.birthtimeNs) return false
  return a.birthtimeNs !== 0n || isDirectory(a) || isUntouched(a, b)
}

/** A directory's size and time change with its entries, which are told themselves. */
export function isUntouched(a: Entry, b: Entry): boolean {
  if (a.mode !== b.mode) return false
  return isDirectory(a) || (a.size === b.size && a.mtimeNs === b.mtimeNs)
}

/** Names from the watched directory down. */
export function namesTo(entry: Entry): string[] {
  const names: string[] = []
  for (let at = entry; at.parent !== undefined; at = at.parent) names.unshift(at.name)
  return names
}

export const pathOf = (entry: Entry): string => namesTo(entry).join('/')

/** Reachable from the watched directory. */
export function isAttached(entry: Entry): boolean {
  let at = entry
  for (; at.parent !== undefined; at = at.parent) if (at.parent.children.get(at.name) !== at) return false
  return true
}

export function* withDescendants(entry: Entry): Generator<Entry> {
  yield entry
  if (isDirectory(entry)) for (const child of entry.children.values()) yield* withDescendants(child)
}
