/**
 * Folders and files that belong to the work, made by an agent that may be root. The work can put a link wherever it may
 * write, also between two of our steps: there nothing is written by root.
 */
import { execFile } from 'node:child_process'
import { chmod, lstat, mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { WorkUser } from './child.ts'

/** Of the work's folders where the agent is another user: root without further rights must be able to go through. */
const PASSABLE = 0o755

/** Makes it as the work would, with the folders above it, unless it is there. */
export async function giveDirectory(path: string, user: WorkUser | undefined): Promise<void> {
  const hands = user?.hands
  if (hands === undefined) await makeDirectory(path, 0o700)
  else await hands.insist(() => hands.call('makeDirectory', { path, mode: PASSABLE }))
}

export async function makeDirectory(path: string, mode: number): Promise<void> {
  await mkdir(path, { recursive: true, mode })
}

/** Lets the work make folders of its own in one of the agent's. Only while nothing of the work runs yet. */
export async function openedTo<T>(user: WorkUser, parent: string, make: () => Promise<T>): Promise<T> {
  if ((await lstat(parent)).uid === user.uid) return make()
  await chmod(parent, 0o1777)
  try {
    return await make()
  } finally {
    await chmod(parent, PASSABLE)
  }
}

/** Deletes what belongs to the work, whole folders too; what is not there is no fault. */
export async function removeOf(user: WorkUser | undefined, paths: readonly string[]): Promise<void> {
  const hands = user?.hands
  if (hands === undefined) await removeAll(paths)
  else await hands.insist(() => hands.call('remove', { paths: [...paths] }))
}

export async function removeAll(paths: readonly string[]): Promise<void> {
  for (const path of paths) await rm(path, { recursive: true, force: true })
}

/** Deletes all that is in a folder of the work. */
export async function emptyOf(user: WorkUser | undefined, folder: string): Promise<void> {
  const hands = user?.hands
  if (hands === undefined) await empty(folder)
  else await hands.insist(() => hands.call('empty', { folder }))
}

export async function empty(folder: string): Promise<void> {
  await removeAll((await readdir(folder).catch(() => [])).map((name) => join(folder, name)))
}

/** Writes it as the work itself would, readable for nobody else, with the folders above it. */
export async function writeAs(user: WorkUser | undefined, path: string, text: string): Promise<void> {
  if (user === undefined) {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    return writeFile(path, text, { mode: 0o600 })
  }
  const { uid, gid } = user
  await new Promise<void>((resolve, reject) => {
    const script = 'umask 077 && mkdir -p "$1" && cat > "$2"'
    const child = execFile('/bin/sh', ['-c', script, 'sh', dirname(path), path], { uid, gid, cwd: '/' }, (error) =>
      error === null ? resolve() : reject(error),
    )
    child.stdin?.on('error', () => {}) // its exit code tells
    child.stdin?.end(text)
  })
}
