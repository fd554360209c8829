/**
 * Finds what vanished here and came up there, and moves it in the tree. Each step is told and done at once, so that the
 * tree is always what a reader has who follows; a rename that does not fit in between (two names that were exchanged) is
 * left, and told as what it comes to.
 */
import type { BigIntStats } from 'node:fs'
import type { FileChange } from '../../protocol/watch.ts'
import { change } from './change.ts'
import { type Directory, type Entry, isAttached, isDirectory, isSame, newEntry, pathOf } from './entry.ts'

/** What is at a name now. */
export interface Finding {
  directory: Directory
  name: string
  stats: BigIntStats | undefined
}

interface Candidate {
  entry: Entry
  to: Directory
  name: string
}

/** @param forget called with what a rename has replaced. @returns the entries that were moved */
export function moveRenamed(
  findings: readonly Finding[],
  changes: FileChange[],
  forget: (entry: Entry) => void,
): Entry[] {
  const moved: Entry[] = []
  let waiting = candidates(findings)
  for (let isStuck = false; !isStuck && waiting.length > 0; ) {
    const sources = new Set(waiting.map(({ entry }) => entry))
    const left = waiting.filter((one) => !move(one, sources, changes, forget, moved))
    isStuck = left.length === waiting.length
    waiting = left
  }
  return moved
}

function candidates(findings: readonly Finding[]): Candidate[] {
  const gone = new Map<bigint, Entry>()
  const found: Array<{ directory: Directory; name: string; now: Entry }> = []
  for (const { directory, name, stats } of findings) {
    const known = directory.children.get(name)
    const now = stats && newEntry(name, directory, stats)
    if (known !== undefined && now !== undefined && isSame(known, now)) continue
    if (known !== undefined) gone.set(known.ino, known)
    if (now !== undefined) found.push({ directory, name, now })
  }
  return found.flatMap(({ directory, name, now }) => {
    const entry = gone.get(now.ino)
    if (entry === undefined || !isSame(entry, now)) return []
    gone.delete(now.ino)
    return [{ entry, to: directory, name }]
  })
}

function move(
  { entry, to, name }: Candidate,
  sources: ReadonlySet<Entry>,
  changes: FileChange[],
  forget: (entry: Entry) => void,
  moved: Entry[],
): boolean {
  const there = to.children.get(name)
  const from = entry.parent
  if (from === undefined || !isAttached(entry) || !isAttached(to) || isInside(to, entry)) return false
  if (there !== undefined && (sources.has(there) || isDirectory(there) || isDirectory(entry))) return false
  const old = pathOf(entry)
  from.children.delete(entry.name)
  if (there !== undefined) forget(there)
  Object.assign(entry, { parent: to, name })
  to.children.set(name, entry)
  changes.push(change('renamed', pathOf(entry), entry, old))
  moved.push(entry)
  return true
}

function isInside(directory: Directory, entry: Entry): boolean {
  for (let at: Directory | undefined = directory; at !== undefined; at = at.parent) if (at === entry) return true
  return false
}
