/** Which paths of the work's folders are what one takes them for, by folders alone: a link on the way leads nowhere. */
import { lstat, realpath } from 'node:fs/promises'
import type { WorkUser } from '../processes/child.ts'

export type Kind = 'file' | 'folder' | 'any'

/** Paths of one question to the second process. */
const AT_ONCE = 10_000

/**
 * @param kind a file may be a symbolic link
 * @param top reached by whatever links
 * @param paths below it, one character per byte
 * @returns those that are there, and of that kind
 */
export async function pathsAmong(
  user: WorkUser | undefined,
  kind: Kind,
  top: string,
  paths: readonly string[],
): Promise<string[]> {
  const hands = user?.hands
  if (hands === undefined) return among(kind, top, paths)
  const found: string[] = []
  for (let at = 0; at < paths.length; at += AT_ONCE) {
    const asked = paths.slice(at, at + AT_ONCE)
    const { indexes } = await hands.insist(() => hands.call('among', { kind, top, paths: asked }))
    found.push(...indexes.flatMap((index) => asked[index] ?? []))
  }
  return found
}

export async function among(kind: Kind, top: string, paths: readonly string[]): Promise<string[]> {
  const real = await realpath(top).catch(() => undefined)
  if (real === undefined) return []
  const found: string[] = []
  for (const path of paths) if (await isAt(kind, real, path)) found.push(path)
  return found
}

async function isAt(kind: Kind, top: string, path: string): Promise<boolean> {
  const parts = path.split('/')
  if (parts.some((part) => part === '' || part === '.' || part === '..')) return false
  for (let depth = 1; depth <= parts.length; depth++) {
    const bytes = Buffer.concat([Buffer.from(`${top}/`), Buffer.from(parts.slice(0, depth).join('/'), 'latin1')])
    const stat = await lstat(bytes).catch(() => undefined)
    if (stat === undefined) return false
    if (depth < parts.length || kind === 'folder') {
      if (!stat.isDirectory()) return false
    } else if (kind === 'file' && !stat.isFile() && !stat.isSymbolicLink()) return false
  }
  return true
}
