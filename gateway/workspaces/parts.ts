/** What a task's repository says of the snapshot's parts, and the patch of each submodule, one after the other. */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { RclaudeError } from '../../protocol/errors.ts'
import { directlyIn, PARTS_FILE, type Parts, readParts, type Submodule } from '../../protocol/parts.ts'
import { REFS } from '../../protocol/run.ts'
import { diffPatch } from './diff.ts'
import { git } from './git.ts'

/** Undefined without any. @throws {RclaudeError} `invalid` when the ref holds something else */
export async function readPartsOf(repository: string): Promise<Parts | undefined> {
  const known = await git(['rev-parse', '-q', '--verify', `${REFS.parts}^{commit}`], { repository, answers: [1] })
  if (known.code !== 0) return undefined
  const read = await git(['cat-file', 'blob', `${REFS.parts}:${PARTS_FILE}`], { repository, answers: [128] })
  try {
    return readParts(Buffer.from(read.stdout, 'latin1').toString())
  } catch (error) {
    throw new RclaudeError('invalid', `${REFS.parts} holds no ${PARTS_FILE} that describes a snapshot`, {
      cause: error,
    })
  }
}

/** Commits of which the owner's next push is to hear, each by a name that stays. */
export function cacheRefs(parts: Parts | undefined): Map<string, string> {
  const refs = new Map<string, string>()
  for (const { path, head } of parts?.submodules ?? [])
    refs.set(`refs/parts/submodule/${createHash('sha256').update(path).digest('hex')}`, head)
  for (const [at, id] of (parts?.large ?? []).entries()) refs.set(`refs/parts/large/${at}`, id)
  return refs
}

interface Range {
  repository: string
  from: string
  to: string
}

/**
 * As `git diff --submodule=diff`: the superproject's patch, then for each changed submodule a line `Submodule <path>:` and its
 * patch, with paths as the superproject sees them. `git apply` takes the whole.
 */
export function diffEach(range: Range, submodules: readonly Submodule[], signal?: AbortSignal): Readable {
  return Readable.from(sections(range, submodules, signal), { objectMode: false })
}

async function* sections({ repository, from, to }: Range, submodules: readonly Submodule[], signal?: AbortSignal) {
  for (const path of ['', ...submodules.map((submodule) => submodule.path)]) {
    let isNew = path !== ''
    for await (const chunk of diffPatch(repository, from, to, signal, pathspecs(path, submodules))) {
      if (isNew) yield Buffer.from(`Submodule ${path}:\n`)
      isNew = false
      yield chunk as Buffer
    }
  }
}

/** One repository's patch, with paths as it sees them. `path` is one of the submodules', or empty. */
export function diffOne(range: Range, path: string, submodules: readonly Submodule[], signal?: AbortSignal): Readable {
  const within = path === '' ? [] : [`--relative=${path}/`]
  return diffPatch(range.repository, range.from, range.to, signal, pathspecs(path, submodules), within)
}

const pathspecs = (path: string, submodules: readonly Submodule[]): string[] => [
  ...(path === '' ? [] : [`:(top,literal)${path}`]),
  ...directlyIn(path, submodules).map((inner) => `:(top,exclude,literal)${inner.path}`),
]
