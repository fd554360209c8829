/**
 * What a result must not do to the user's disk: write through a symbolic link, place a link that leads out of the
 * folder, write into `.git`, or replace a file that the snapshot knew nothing of (an ignored one).
 */
import { lstat } from 'node:fs/promises'
import { posix } from 'node:path'
import { blobText, type Change } from './changes.ts'
import { bytesOf, textOf } from './git.ts'
import type { Scratch } from './scratch.ts'

export interface Refusal {
  path: string
  why: string
}

export async function findEscapes(root: string, changes: readonly Change[], scratch: Scratch): Promise<Refusal[]> {
  const refusals: Refusal[] = []
  const removed = new Set(
    changes.filter((change) => change.status === 'D' || change.status === 'T').map(({ path }) => path),
  )
  for (const change of changes) {
    const why =
      inGitDirectory(change.path) ??
      (await linkLeadsOut(change, scratch)) ??
      (change.status === 'D' ? undefined : await blockedOnDisk(root, change, removed))
    if (why !== undefined) refusals.push({ path: textOf(change.path), why })
  }
  return refusals
}

function inGitDirectory(path: string): string | undefined {
  const parts = path.split('/')
  if (parts.some((part) => /^\.git[ .]*$/i.test(part) || /^git~1$/i.test(part))) return 'lies in a .git directory'
  return parts.some((part) => part === '..' || part === '.' || part === '') ? 'is no plain path' : undefined
}

async function linkLeadsOut(change: Change, scratch: Scratch): Promise<string | undefined> {
  if (change.newMode !== '120000') return undefined
  const target = await blobText(change.newBlob, scratch)
  const resolved = posix.normalize(posix.join(posix.dirname(change.path), target))
  const out = target.startsWith('/') || resolved === '..' || resolved.startsWith('../')
  if (out) return `is a symbolic link that leads out of the folder, to ${textOf(target)}`
  return inGitDirectory(resolved) !== undefined && resolved !== '.' ? 'is a symbolic link into .git' : undefined
}

/** Every directory on the way must be a real one, unless the same change removes what stands there. */
async function blockedOnDisk(root: string, change: Change, removed: ReadonlySet<string>): Promise<string | undefined> {
  const parts = change.path.split('/')
  for (let depth = 1; depth < parts.length; depth++) {
    const parent = parts.slice(0, depth).join('/')
    const found = await look(root, parent)
    if (found === undefined) return undefined // from here on nothing exists
    if (found.isDirectory()) continue
    if (removed.has(parent)) return undefined
    return `would be written through ${textOf(parent)}, which is ${found.isSymbolicLink() ? 'a symbolic link' : 'no directory'} here`
  }
  if (change.status !== 'A') return undefined
  const found = await look(root, change.path)
  if (found === undefined || (found.isDirectory() && [...removed].some((path) => path.startsWith(`${change.path}/`))))
    return undefined
  return 'exists here, is ignored by git and would be overwritten'
}

const look = (root: string, path: string) =>
  lstat(Buffer.concat([Buffer.from(`${root}/`), bytesOf(path)])).catch(() => undefined)
