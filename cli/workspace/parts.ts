/** The commit beside a snapshot that says what its tree cannot: protocol/parts.ts. None without submodules and git-lfs files. */
import { makeTree, treeEntry } from '../../protocol/git-trees.ts'
import { PARTS_FILE, type Parts, type Submodule } from '../../protocol/parts.ts'
import { blobText, changesBetween } from './changes.ts'
import { commitTree, treeOf } from './commits.ts'
import { git, splitNul } from './git.ts'
import { isContentOf, parsePointer } from './lfs.ts'
import { scratchGit } from './scratch.ts'
import type { CapturedRepository } from './submodules.ts'

export interface CommittedParts {
  commit: string
  /** Some repository's working tree differs from its HEAD. */
  dirty: boolean
}

export async function commitParts(
  repositories: readonly [CapturedRepository, ...CapturedRepository[]],
  at: Date,
  signal?: AbortSignal,
): Promise<CommittedParts | undefined> {
  const [top, ...inner] = repositories
  if (inner.length === 0 && top.lfs.length === 0) return undefined
  const { scratch } = top
  const submodules: Submodule[] = []
  let dirty = await differsFromHead(top, signal)
  for (const one of inner) {
    const { head } = one.place.repository ?? {}
    if (head === undefined) throw new Error(`${one.path} has no commit`)
    const unchanged = (await treeOf(head, scratch)) === one.tree
    const snapshot = unchanged ? head : await commitTree(one.tree, [head], scratch, at)
    submodules.push({ path: one.path, snapshot, head, link: one.link })
    dirty ||= !unchanged && (await differsFromHead(one, signal))
  }
  const large = await commitLarge(repositories, signal)
  const base = top.place.repository?.head
  const parts: Parts = { version: 1, ...(base !== undefined && { base }), submodules, large }
  const parents = [...new Set([...submodules.map(({ snapshot }) => snapshot), ...large])]
  // The trees stand in this one's, for git to see that the snapshot needs nothing more than what came with the parts.
  const run = scratchGit(scratch, signal)
  const json = await git(['hash-object', '-w', '--stdin'], {
    mode: 'own',
    cwd: scratch.directory,
    env: { GIT_DIR: scratch.gitDir },
    input: Buffer.from(JSON.stringify(parts)),
  })
  const trees = await Promise.all(parents.map((parent) => treeOf(parent, scratch)))
  const tree = await makeTree(run, [
    { name: PARTS_FILE, mode: '100644', type: 'blob', id: json.stdout.trim() },
    ...trees.map((id, index) => ({ ...treeEntry(id), name: String(index) })),
  ])
  return { commit: await commitTree(tree, parents, scratch, LONG_AGO), dirty }
}

/** The same content makes the same commit. */
const LONG_AGO = new Date(0)
const BUCKETS = 16

/**
 * Content that git-lfs keeps is in no commit of the user's, so nothing would tell git that the gateway has it already. These
 * commits do: by the first digit of a blob's id, so that a changed file sends a sixteenth again and not everything.
 */
async function commitLarge(repositories: readonly CapturedRepository[], signal?: AbortSignal): Promise<string[]> {
  const buckets = new Map<string, Set<string>>()
  for (const { place, scratch, lfs } of repositories) {
    if (lfs.length === 0) continue
    const paths = new Set(lfs)
    const listed = await git(['ls-files', '-s', '-z'], { mode: 'user', cwd: place.root, env: scratch.workEnv, signal })
    for (const line of splitNul(listed.stdout)) {
      const [, id = '', path = ''] = /^\d+ ([0-9a-f]+) \d\t(.*)$/s.exec(line) ?? []
      const bucket = buckets.get(id.slice(0, 1)) ?? new Set()
      if (paths.has(path)) buckets.set(id.slice(0, 1), bucket.add(id))
    }
  }
  const shared = repositories[0]?.scratch
  if (shared === undefined) return []
  const commits: string[] = []
  for (const [, ids] of [...buckets].sort(([a], [b]) => (a < b ? -1 : 1)).slice(0, BUCKETS)) {
    const entries = [...ids].map((id) => ({ mode: '100644', type: 'blob', id, name: id }) as const)
    commits.push(await commitTree(await makeTree(scratchGit(shared, signal), entries), [], shared, LONG_AGO))
  }
  return commits
}

/** A git-lfs file whose content is what HEAD's pointer names was not changed. */
async function differsFromHead(
  { place, tree, lfs, scratch }: CapturedRepository,
  signal?: AbortSignal,
): Promise<boolean> {
  const head = place.repository?.head
  if (head === undefined) return true
  const paths = new Set(lfs)
  const changes = await changesBetween(await treeOf(head, scratch), tree, scratch, signal)
  if (changes.some(({ path, status }) => status !== 'M' || !paths.has(path))) return true
  for (const { path, oldBlob } of changes) {
    const pointer = parsePointer(await blobText(oldBlob, scratch))
    if (pointer === undefined || !(await isContentOf(pointer, place.root, path))) return true
  }
  return false
}
