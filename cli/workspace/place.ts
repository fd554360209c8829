/** Where the user stands: a folder in a git repository, or a folder that is none. */
import { realpath } from 'node:fs/promises'
import { homedir } from 'node:os'
import { RclaudeError } from '../../protocol/errors.ts'
import { complaint, git, textOf } from './git.ts'

export type ObjectFormat = 'sha1' | 'sha256'

export interface UserRepository {
  /** The git directory of this work tree. */
  gitDir: string
  objects: string
  index: string
  /** The file that lists where the user's own history ends, when it was cloned with a depth. */
  shallow: string
  /** Commit of HEAD; undefined before the first commit. */
  head: string | undefined
  /** A partial clone fetches objects from its origin when they are needed. */
  partial: boolean
}

export interface Place {
  /** Top of the work tree, or the folder itself. */
  root: string
  objectFormat: ObjectFormat
  repository: UserRepository | undefined
}

/** @throws {RclaudeError} `invalid` inside a bare repository or a git directory, and for a home folder */
export async function locate(folder: string, signal?: AbortSignal): Promise<Place> {
  const ask = async (...args: string[]) => {
    const { stdout } = await git(['rev-parse', '--path-format=absolute', ...args], {
      mode: 'user',
      cwd: folder,
      signal,
    })
    return textOf(stdout.replace(/\n$/, ''))
  }
  const inside = await git(['rev-parse', '--is-inside-work-tree'], {
    mode: 'user',
    cwd: folder,
    answers: [128],
    signal,
  })
  if (inside.code !== 0) {
    if (!/not a git repository/i.test(inside.stderr))
      throw new RclaudeError('invalid', `git does not accept ${folder}: ${complaint(inside.stderr)}`)
    return { root: await plainFolder(folder), objectFormat: 'sha1', repository: undefined }
  }
  if (inside.stdout.trim() !== 'true')
    throw new RclaudeError('invalid', `${folder} is inside a git directory or a bare repository; run it in a work tree`)
  const [root, gitDir, objects, index, shallow, format] = await Promise.all([
    ask('--show-toplevel'),
    ask('--absolute-git-dir'),
    ask('--git-path', 'objects'),
    ask('--git-path', 'index'),
    ask('--git-path', 'shallow'),
    ask('--show-object-format'),
  ])
  const head = await git(['rev-parse', '-q', '--verify', 'HEAD^{commit}'], {
    mode: 'user',
    cwd: root,
    answers: [1, 128],
    signal,
  })
  const promisor = await git(['config', '--get-regexp', '^(extensions\\.partialclone|remote\\..*\\.promisor)$'], {
    mode: 'user',
    cwd: root,
    answers: [1],
    signal,
  })
  return {
    root,
    objectFormat: format === 'sha256' ? 'sha256' : 'sha1',
    repository: {
      gitDir,
      objects,
      index,
      shallow,
      head: head.code === 0 ? head.stdout.trim() : undefined,
      partial: promisor.code === 0,
    },
  }
}

async function plainFolder(folder: string): Promise<string> {
  const root = await realpath(folder)
  if (root === '/' || root === (await realpath(homedir()).catch(() => undefined)))
    throw new RclaudeError(
      'invalid',
      `${root} is no git repository and too much to send whole; change to the project's folder, or run git init there`,
    )
  return root
}
