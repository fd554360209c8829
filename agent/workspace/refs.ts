/** What is fetched and made lies at these names in the daemon's repository. */
import type { Repositories } from './repositories.ts'

export const LOCAL = {
  snapshot: 'refs/rclaude/snapshot',
  checkout: 'refs/rclaude/checkout',
  session: 'refs/rclaude/session',
  parts: 'refs/rclaude/parts',
  /** The commit to check out, of the superproject (0) and of each submodule. */
  split: (at: number) => `refs/rclaude/split/${at}`,
} as const

/** The object that a revision of the daemon's repository names. */
export const idOf = async (repositories: Repositories, revision: string): Promise<string> =>
  (await repositories.daemon(['rev-parse', '--verify', revision])).stdout.trim()
