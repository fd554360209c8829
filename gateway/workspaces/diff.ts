/** The difference of two commits, as a patch that streams and as three numbers. No attribute or driver has a say. */
import type { Readable } from 'node:stream'
import { git, gitFailure, startGit } from './git.ts'

const PLAIN = ['--no-textconv', '--no-ext-diff', '--no-color', '-M'] as const

export interface DiffStat {
  files: number
  insertions: number
  deletions: number
}

export async function diffStat(repository: string, from: string, to: string, signal?: AbortSignal): Promise<DiffStat> {
  const { stdout } = await git(['diff-tree', '-r', '--shortstat', ...PLAIN, from, to], { repository, signal })
  const count = (pattern: RegExp) => Number(pattern.exec(stdout)?.[1] ?? 0)
  return {
    files: count(/(\d+) files? changed/),
    insertions: count(/(\d+) insertions?\(\+\)/),
    deletions: count(/(\d+) deletions?\(-\)/),
  }
}

/** What `git apply` takes. Destroying the stream ends git; a failure of git errors the stream. */
export function diffPatch(
  repository: string,
  from: string,
  to: string,
  signal?: AbortSignal,
  pathspecs: readonly string[] = [],
  options: readonly string[] = [],
): Readable {
  const args = [
    'diff-tree',
    '-r',
    '-p',
    '--binary',
    '--full-index',
    '--src-prefix=a/',
    '--dst-prefix=b/',
    ...PLAIN,
    ...options,
    from,
    to,
    '--',
    ...pathspecs,
  ]
  const running = startGit(args, { repository, signal })
  running.child.stdin.end()
  const patch = running.child.stdout
  patch.once('close', () => running.kill())
  running.exited.then(
    (code) => {
      if (code !== 0 && !patch.destroyed) patch.destroy(gitFailure('diff-tree', code, running.stderr()))
    },
    (error: Error) => patch.destroy(error),
  )
  return patch
}
