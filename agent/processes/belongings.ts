/**
 * Folders and files that belong to the work, made by an agent that may be root. The work can put a link wherever it may
 * write, also between two of our steps: there nothing is written and nothing given away by root.
 */
import { execFile } from 'node:child_process'
import { lchown, mkdir, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { WorkUser } from './child.ts'

/** Makes it, below a folder of the agent's own, unless it is there. */
export async function giveDirectory(path: string, user: WorkUser | undefined): Promise<void> {
  const isNew = (await mkdir(path, { recursive: true, mode: 0o700 })) !== undefined
  if (isNew && user !== undefined) await lchown(path, user.uid, user.gid)
}

/** Writes it as the work itself would, readable for nobody else, with the folders above it. */
export async function writeAs(user: WorkUser | undefined, path: string, text: string): Promise<void> {
  if (user === undefined) {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    return writeFile(path, text, { mode: 0o600 })
  }
  await new Promise<void>((resolve, reject) => {
    const script = 'umask 077 && mkdir -p "$1" && cat > "$2"'
    const child = execFile('/bin/sh', ['-c', script, 'sh', dirname(path), path], { ...user, cwd: '/' }, (error) =>
      error === null ? resolve() : reject(error),
    )
    child.stdin?.on('error', () => {}) // its exit code tells
    child.stdin?.end(text)
  })
}
