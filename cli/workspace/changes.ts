/** The difference of two trees as a list of paths. */
import { git, splitNul } from './git.ts'
import type { Scratch } from './scratch.ts'

export interface Change {
  /** One character per byte; see `textOf`. */
  path: string
  /** A added, D deleted, M content or mode, T another type. */
  status: 'A' | 'D' | 'M' | 'T'
  newMode: string
  oldBlob: string
  newBlob: string
}

export async function changesBetween(
  from: string,
  to: string,
  scratch: Scratch,
  signal?: AbortSignal,
): Promise<Change[]> {
  const { stdout } = await git(['diff-tree', '-r', '-z', '--no-renames', '--raw', '--no-abbrev', from, to], {
    mode: 'own',
    cwd: scratch.directory,
    env: { GIT_DIR: scratch.gitDir },
    signal,
  })
  const fields = splitNul(stdout)
  const changes: Change[] = []
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const [, newMode, oldBlob, newBlob, status] = (fields[at] ?? '').slice(1).split(' ')
    const path = fields[at + 1]
    if (path === undefined || newMode === undefined || oldBlob === undefined || newBlob === undefined) continue
    if (status === 'A' || status === 'D' || status === 'M' || status === 'T')
      changes.push({ path, status, newMode, oldBlob, newBlob })
  }
  return changes
}

export async function blobText(blob: string, scratch: Scratch): Promise<string> {
  const { stdout } = await git(['cat-file', 'blob', blob], {
    mode: 'own',
    cwd: scratch.directory,
    env: { GIT_DIR: scratch.gitDir },
  })
  return stdout
}
