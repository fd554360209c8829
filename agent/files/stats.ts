/** What is told of a file: its kind, its permissions, and a mark that changes with its content. */
import type { BigIntStats } from 'node:fs'
import type { DirectoryEntry } from '../../protocol/file.ts'

/** Changes whenever the content does: a write moves the time, a replacement the inode. */
export function etagOf(stats: Pick<BigIntStats, 'size' | 'mtimeNs' | 'ino'>): string {
  return `"${stats.size}-${stats.mtimeNs}-${stats.ino}"`
}

export const modeOf = (stats: BigIntStats): number => Number(stats.mode) & 0o7777

export function typeOf(stats: BigIntStats): DirectoryEntry['type'] {
  if (stats.isFile()) return 'file'
  if (stats.isDirectory()) return 'directory'
  if (stats.isSymbolicLink()) return 'symlink'
  if (stats.isFIFO()) return 'fifo'
  return stats.isSocket() ? 'socket' : 'device'
}
