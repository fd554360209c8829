/** How much history goes along: a bounded number of commits back from HEAD, cut where the user's own history is cut. */
import { readFile } from 'node:fs/promises'
import { git } from './git.ts'
import type { Place } from './place.ts'

/** Commits along each line of history. Enough for `git log` and `git blame` to help, small enough to send. */
export const DEFAULT_DEPTH = 50
/** However wide the history is, no more commits than this are looked at. */
const MAX_COMMITS = 5_000

/** The commits at which history ends, as git's `shallow` file lists them; empty when all of it goes along. */
export async function historyBoundary(place: Place, depth: number, signal?: AbortSignal): Promise<string[]> {
  const { repository } = place
  if (repository?.head === undefined) return []
  const own = new Set((await readFile(repository.shallow, 'latin1').catch(() => '')).split('\n').filter(Boolean))
  if (!Number.isFinite(depth)) return [...own].sort()
  const listed = await git(['rev-list', '--parents', `--max-count=${MAX_COMMITS}`, repository.head], {
    mode: 'user',
    cwd: place.root,
    env: { GIT_DIR: repository.gitDir },
    signal,
  })
  const parents = new Map<string, string[]>()
  for (const line of listed.stdout.split('\n')) {
    const [commit, ...rest] = line.split(' ')
    if (commit !== undefined && commit !== '') parents.set(commit, rest)
  }
  const included = withinDepth(repository.head, parents, Math.max(1, Math.trunc(depth)))
  return [...included]
    .filter((commit) => own.has(commit) || parents.get(commit)?.some((parent) => !included.has(parent)) === true)
    .sort()
}

function withinDepth(head: string, parents: ReadonlyMap<string, readonly string[]>, depth: number): Set<string> {
  const included = new Set<string>()
  let level = [head]
  for (let generation = 0; generation < depth && level.length > 0; generation++) {
    const next: string[] = []
    for (const commit of level) {
      if (included.has(commit) || !parents.has(commit)) continue
      included.add(commit)
      next.push(...(parents.get(commit) ?? []))
    }
    level = next
  }
  return included
}
