/** Commits that dress a tree, in the scratch repository. */
import { git } from './git.ts'
import type { Scratch } from './scratch.ts'

/** The commits that only say "this tree" carry no one's name. */
export function commitTree(tree: string, parents: readonly string[], scratch: Scratch, at: Date): Promise<string> {
  const who = { NAME: 'rclaude', EMAIL: 'rclaude@localhost', DATE: `@${Math.floor(at.getTime() / 1_000)} +0000` }
  const env = Object.fromEntries(
    Object.entries(who).flatMap(([key, value]) => [
      [`GIT_AUTHOR_${key}`, value],
      [`GIT_COMMITTER_${key}`, value],
    ]),
  )
  const args = [
    'commit-tree',
    '-m',
    'Snapshot of the working tree',
    ...parents.flatMap((parent) => ['-p', parent]),
    tree,
  ]
  return inScratch(args, scratch, env)
}

export const treeOf = (commit: string, scratch: Scratch): Promise<string> =>
  inScratch(['rev-parse', '--verify', `${commit}^{tree}`], scratch)

async function inScratch(args: string[], scratch: Scratch, env: Record<string, string> = {}): Promise<string> {
  const { stdout } = await git(args, {
    mode: 'own',
    cwd: scratch.directory,
    env: { GIT_DIR: scratch.gitDir, ...env },
  })
  return stdout.trim()
}
