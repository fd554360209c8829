/** Opens directories of a watched tree by the safe walk, and reads names and facts in them. */
import type { BigIntStats } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import { descriptorPath, findPlace, HAS_PROC, hasCode, joinBytes, openDirectory } from '../files/tree.ts'
import { type Directory, namesTo } from './entry.ts'

/** Looked at side by side. */
const STATS_AT_ONCE = 32

/**
 * Calls back with a path of the directory that nobody can redirect meanwhile.
 * @returns false when it is not there any more, as the directory that it was
 */
export async function inDirectory(
  root: string,
  at: readonly Buffer[],
  directory: Directory,
  use: (here: Buffer) => Promise<void>,
): Promise<boolean> {
  const names = [...at, ...namesTo(directory).map((name) => Buffer.from(name, 'latin1'))]
  const place = await unlessGone(findPlace(root, names, { followLast: false }))
  if (place === undefined) return false
  try {
    return place.stats?.isDirectory() === true && (await inOpened(place.path, use, directory.ino))
  } finally {
    await place.close()
  }
}

/** The same, of a path whose parent is open. */
export async function inOpened(path: Buffer, use: (here: Buffer) => Promise<void>, ino: bigint): Promise<boolean> {
  const handle = await unlessGone(openDirectory(path))
  if (handle === undefined) return false
  try {
    if ((await handle.stat({ bigint: true })).ino !== ino) return false
    await use(HAS_PROC ? descriptorPath(handle) : path)
    return true
  } finally {
    await handle.close()
  }
}

/** Names with what is known of them, undefined for what is not there. */
export async function* statsOf(
  here: Buffer,
  names: Iterable<string>,
): AsyncGenerator<[name: string, stats: BigIntStats | undefined]> {
  const all = [...names]
  for (let from = 0; from < all.length; from += STATS_AT_ONCE) {
    const some = all.slice(from, from + STATS_AT_ONCE)
    const stats = await Promise.all(some.map((name) => statOf(here, name)))
    for (const [at, name] of some.entries()) yield [name, stats[at]]
  }
}

export async function namesIn(here: Buffer): Promise<string[]> {
  return (await readdir(here, { encoding: 'buffer' })).map((name) => name.toString('latin1'))
}

const statOf = (here: Buffer, name: string): Promise<BigIntStats | undefined> =>
  unlessGone(lstat(joinBytes(here, Buffer.from(name, 'latin1')), { bigint: true }))

async function unlessGone<Result>(work: Promise<Result>): Promise<Result | undefined> {
  try {
    return await work
  } catch (error) {
    const isGone = hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES', 'ENAMETOOLONG')
    if (isGone || (error instanceof RclaudeError && error.code === 'forbidden')) return undefined
    throw error
  }
}
