/** The coding agent's session files as a tree of their own, and back. As the work user, like everything of the work's. */
import { stat } from 'node:fs/promises'
import type { Repositories } from './repositories.ts'

export interface SessionFiles {
  directory: string
  /** Only these, relative to the directory; all by default. Missing ones are no fault. */
  paths?: readonly string[]
}

const INDEX = 'session-index'

/** The tree of the files; undefined when there are none. */
export async function captureSession(
  repositories: Repositories,
  session: SessionFiles | undefined,
  signal?: AbortSignal,
): Promise<string | undefined> {
  if (session === undefined || !(await isDirectory(session.directory))) return undefined
  await repositories.forget(INDEX, `${INDEX}.lock`)
  const run = (args: string[], answers: number[] = []) =>
    repositories.reading(session.directory, INDEX, args, { signal, answers, env: { GIT_LITERAL_PATHSPECS: '1' } })
  for (const path of session.paths ?? ['.']) await run(['add', '-A', '-f', '--ignore-errors', '--', path], [1, 128])
  if ((await run(['ls-files', '-z'])).stdout === '') return undefined
  return (await run(['write-tree'])).stdout.trim()
}

export async function writeSession(
  repositories: Repositories,
  tree: string,
  directory: string,
  signal?: AbortSignal,
): Promise<void> {
  await repositories.giveDirectory(directory)
  await repositories.reading(directory, 'session-restore', ['read-tree', tree], { signal })
  await repositories.reading(directory, 'session-restore', ['checkout-index', '-a', '-f', '-q'], { signal })
}

const isDirectory = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
