/** The near folder: which files take part, and what they hold. */
import { mkdirSync, realpathSync, statSync } from 'node:fs'
import type { KnownContent } from '../../host/tree/content.ts'
import { isInRepository, listTree, look, type RunGit, type Selection, TooManyPaths } from '../../host/tree/list.ts'
import type { BytePath } from '../../host/tree/names.ts'
import { deniedAt, type Entry, type Skipped, scan } from '../../host/tree/scan.ts'
import { codeOf, Tree } from '../../host/tree/tree.ts'
import { RclaudeError } from '../../protocol/errors.ts'

export interface NearScan {
  entries: Map<BytePath, Entry>
  skipped: Skipped[]
}

/** Undefined when there is none. @throws {RclaudeError} `invalid` when it is no folder */
export function openNear(directory: string): Tree | undefined {
  try {
    if (!statSync(directory).isDirectory()) throw new RclaudeError('invalid', `${directory} is not a folder`)
    return Tree.open(directory)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    if (codeOf(error) === 'ENOTDIR') throw new RclaudeError('invalid', `${directory} is not a folder`)
    throw error
  }
}

export function makeNear(directory: string): Tree {
  mkdirSync(directory, { recursive: true })
  return Tree.open(realpathSync(directory))
}

/** Looks at every file; the ids are those that are known from before. */
export async function scanNear(
  tree: Tree,
  selection: Selection,
  known: KnownContent,
  signal: AbortSignal,
): Promise<NearScan> {
  try {
    const denied: Skipped[] = []
    const listed = await listTree(tree, selection, userGit, (path) => denied.push(deniedAt(path)))
    const { entries, skipped } = await scan(tree, listed, { known, wants: () => false, signal })
    return { entries: new Map(entries.map((entry) => [entry.path, entry])), skipped: [...denied, ...skipped] }
  } catch (error) {
    if (!(error instanceof TooManyPaths)) throw error
    throw new RclaudeError(
      'too_large',
      `the folder holds ${error.message}: name one inside it, or leave some out with --exclude`,
    )
  }
}

/** Reads those whose ids are wanted and not known. What changes all the time is left out of this pass. */
export async function fillIds(
  tree: Tree,
  near: NearScan,
  known: KnownContent,
  wants: (path: BytePath) => boolean,
  signal: AbortSignal,
): Promise<void> {
  const wanted: BytePath[] = []
  for (const [path, { id }] of near.entries) if (id === undefined && wants(path)) wanted.push(path)
  const { entries, skipped } = await scan(
    tree,
    look(tree, wanted, (path) => near.skipped.push(deniedAt(path))),
    { known, signal },
  )
  for (const path of wanted) near.entries.delete(path)
  for (const entry of entries) near.entries.set(entry.path, entry)
  near.skipped.push(...skipped)
}

const userGit: RunGit = async (cwd, args) => {
  if (!isInRepository(realpathSync(cwd).toString())) return undefined
  const { git } = await import('../workspace/git.ts') // only then, for it takes its time
  try {
    return (await git(args, { mode: 'user', cwd: cwd.toString() })).stdout
  } catch {
    return undefined // no repository, or no git
  }
}

/** Whether two names that differ only in case are one file here. */
export function isCaseBlind(directory: string): boolean {
  const other = directory === directory.toUpperCase() ? directory.toLowerCase() : directory.toUpperCase()
  try {
    return other !== directory && statSync(other).ino === statSync(directory).ino
  } catch {
    return false
  }
}
