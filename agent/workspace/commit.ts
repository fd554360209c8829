/** Commits of trees in the daemon's repository, by the task's author and at a time that tests can say. */
import type { Repositories } from './repositories.ts'

export interface Authorship {
  author: { name: string; email: string }
  now?: () => Date
}

export type CommitTree = (tree: string, message: string, parent?: string) => Promise<string>

export const committer =
  (repositories: Repositories, { author, now }: Authorship): CommitTree =>
  async (tree, message, parent) => {
    const date = `@${Math.floor((now?.() ?? new Date()).getTime() / 1_000)} +0000`
    const env = Object.fromEntries(
      ['AUTHOR', 'COMMITTER'].flatMap((role) => [
        [`GIT_${role}_NAME`, author.name],
        [`GIT_${role}_EMAIL`, author.email],
        [`GIT_${role}_DATE`, date],
      ]),
    )
    const args = ['commit-tree', tree, ...(parent === undefined ? [] : ['-p', parent])]
    return (await repositories.daemon(args, { env, input: Buffer.from(message) })).stdout.trim()
  }
