/** What a diff is asked for by name: two trees of a repository, and one of its submodules. */
import type { Readable } from 'node:stream'
import { RclaudeError } from '../../protocol/errors.ts'
import type { TaskId } from '../../protocol/ids.ts'
import { git } from './git.ts'
import { diffEach, diffOne, readPartsOf } from './parts.ts'

export interface NamedRange {
  from: string
  to: string
}

/** @throws {RclaudeError} `not_found` */
export async function resolveRange(taskId: TaskId, repository: string, range: NamedRange) {
  const resolve = async (name: string) => {
    const found = await git(['rev-parse', '-q', '--verify', '--end-of-options', `${name}^{tree}`], {
      repository,
      answers: [1, 128],
    })
    if (found.code !== 0) throw new RclaudeError('not_found', `the workspace of ${taskId} holds no commit ${name}`)
    return found.stdout.trim().split('\n').at(-1) ?? ''
  }
  const [from, to] = await Promise.all([resolve(range.from), resolve(range.to)])
  return { repository, from, to }
}

/** A patch of all repositories, or of one (`.` is the superproject). @throws {RclaudeError} `not_found` */
export async function patchOf(
  taskId: TaskId,
  repository: string,
  range: NamedRange & { submodule?: string | undefined },
  signal?: AbortSignal,
): Promise<Readable> {
  const found = await resolveRange(taskId, repository, range)
  const submodules = (await readPartsOf(found.repository))?.submodules ?? []
  if (range.submodule === undefined) return diffEach(found, submodules, signal)
  const path = range.submodule === '.' ? '' : range.submodule.replace(/\/+$/, '')
  if (path !== '' && !submodules.some((submodule) => submodule.path === path))
    throw new RclaudeError(
      'not_found',
      `task ${taskId} has no submodule ${path}; ${submodules.length === 0 ? 'it has none' : `it has ${submodules.map((submodule) => submodule.path).join(', ')}`}`,
    )
  return diffOne(found, path, submodules, signal)
}
