/**
 * Files that a clean filter of the user's keeps in another form than they show, as git-crypt does. They travel as git keeps
 * them, because a filter's smudge side (and its key) is not in the task.
 */
import { splitNul, textOf } from './git.ts'
import type { Run } from './work-tree.ts'

/** Names in pathspecs need no quoting so far; git allows more, which nobody uses. */
const PLAIN = /^[\w-]+$/

/** @returns a sentence for each filter, git-lfs's aside, that has files here */
export async function filterWarnings(run: Run): Promise<string[]> {
  const configured = await run(
    ['config', '--name-only', '-z', '--get-regexp', '^filter\\..*\\.(clean|process)$'],
    undefined,
    [1],
  )
  const names = new Set(splitNul(configured.stdout).map((key) => key.slice('filter.'.length, key.lastIndexOf('.'))))
  const warnings: string[] = []
  for (const name of names) {
    if (name === 'lfs' || !PLAIN.test(name)) continue
    const [first, ...more] = splitNul((await run(['ls-files', '-z', `:(top,attr:filter=${name})`])).stdout)
    if (first === undefined) continue
    const files = more.length === 0 ? textOf(first) : `${textOf(first)} and ${more.length} more`
    warnings.push(`${files} went through git's filter "${name}", which the task does not have: it sees what git stores`)
  }
  return warnings
}
