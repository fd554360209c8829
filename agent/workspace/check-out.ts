/**
 * The checkout, as the work user: an ordinary repository with history, on branch `work`, clean; so is each submodule. What was
 * fetched is one commit with all files in place, so it is taken apart first.
 */
import { join } from 'node:path'
import type { RunGit } from '../../protocol/git-trees.ts'
import type { Parts } from '../../protocol/parts.ts'
import type { RunWorkspace } from '../../protocol/run.ts'
import type { CommitTree } from './commit.ts'
import type { SubmoduleIndex } from './prepared.ts'
import { idOf, LOCAL } from './refs.ts'
import { FETCH, type ObjectFormat, type Repositories } from './repositories.ts'
import { checkOutSubmodule, partsOf, type Split, splitCheckout, withoutLfs } from './submodules.ts'

export interface CheckOut {
  objectFormat: ObjectFormat
  spec: Exclude<RunWorkspace, { kind: 'none' }>
  author: { name: string; email: string }
  commitTree: CommitTree
  signal?: AbortSignal | undefined
}

/** @returns the submodules that are there */
export async function checkOut(
  repositories: Repositories,
  { objectFormat, spec, author, commitTree, signal }: CheckOut,
): Promise<SubmoduleIndex[]> {
  const { inWork, reading } = bound(repositories)
  const { work, daemonGit } = repositories
  const [top, ...submodules] = await split(repositories, commitTree, spec.kind === 'git' && spec.parts !== undefined)
  await inWork(['init', '-q', '--template=', '-b', 'work', `--object-format=${objectFormat}`], { signal })
  await inWork([...FETCH, '--update-shallow', '--update-head-ok', daemonGit, `+${LOCAL.split(0)}:refs/heads/work`], {
    transports: ['file'],
    signal,
  })
  await inWork(['reset', '-q', '--hard'], { signal })
  const { name, email } = author
  const config: [string, string][] = [
    ['user.name', name],
    ['user.email', email],
    ...(submodules.length > 0 ? [['submodule.active', '.'] satisfies [string, string]] : []),
  ]
  for (const [key, value] of config) await inWork(['config', key, value])
  await withoutLfs(repositories)
  if (spec.kind === 'repo') await inWork(['remote', 'add', 'origin', spec.url])
  await reading(work, 'index', ['read-tree', top.files], { signal })
  const known: SubmoduleIndex[] = []
  for (const [at, submodule] of submodules.entries()) {
    await checkOutSubmodule(repositories, submodule, LOCAL.split(at + 1), config, signal)
    const index = `submodule-${at + 1}`
    await reading(join(work, submodule.path), index, ['read-tree', submodule.files], { signal })
    known.push({ path: submodule.path, index })
  }
  return known
}

/** The checkout as one commit per repository, at refs from which the work user fetches. */
async function split(
  repositories: Repositories,
  commitTree: CommitTree,
  hasParts: boolean,
): Promise<[Split, ...Split[]]> {
  const run: RunGit = async (args, input) =>
    (await repositories.daemon(args, { ...(input !== undefined && { input }) })).stdout
  const [checkout, tree] = await Promise.all([
    idOf(repositories, LOCAL.checkout),
    idOf(repositories, `${LOCAL.checkout}^{tree}`),
  ])
  const parts = hasParts ? await partsOf(run, LOCAL.parts) : undefined
  const whole: Split = { path: '', commit: checkout, files: tree }
  const commit = (path: string, id: string) => splitCommit(repositories, commitTree, id, path, parts)
  const { submodules = [] } = parts ?? {}
  const [top = whole, ...others] = parts === undefined ? [] : await splitCheckout({ tree, submodules, run, commit })
  for (const [at, one] of [top, ...others].entries()) await run(['update-ref', LOCAL.split(at), one.commit])
  return [top, ...others]
}

/** On top of what the user has checked out there; that itself when nothing differs. */
async function splitCommit(
  repositories: Repositories,
  commitTree: CommitTree,
  tree: string,
  path: string,
  parts: Parts | undefined,
): Promise<string> {
  const submodule = parts?.submodules.find((other) => other.path === path)
  const [base, ...others] = submodule === undefined ? [parts?.base] : [submodule.head, submodule.snapshot]
  for (const known of [base, ...others])
    if (known !== undefined && (await idOf(repositories, `${known}^{tree}`)) === tree) return known
  return await commitTree(tree, 'Snapshot of the working tree\n', base)
}

const bound = (repositories: Repositories) => ({
  inWork: repositories.inWork.bind(repositories),
  reading: repositories.reading.bind(repositories),
})
