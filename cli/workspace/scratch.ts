/**
 * A temporary bare repository that borrows the user's objects. New objects land here, the network is used from here,
 * and the user's repository stays as it was.
 */
import { appendFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { RunGit } from '../../protocol/git-trees.ts'
import { git } from './git.ts'
import type { Place } from './place.ts'

export interface Scratch extends AsyncDisposable {
  directory: string
  gitDir: string
  index: string
  /** Variables with which a `user` git reads and writes the user's work tree and nothing else of the user's. */
  workEnv: Record<string, string>
}

/** Whoever opens it disposes of it: `await using scratch = await openScratch(place)`. */
export async function openScratch(place: Place, signal?: AbortSignal): Promise<Scratch> {
  const directory = await mkdtemp(join(tmpdir(), 'rclaude-git-'))
  try {
    const gitDir = join(directory, 'scratch.git')
    await git(['init', '-q', '--bare', '--template=', `--object-format=${place.objectFormat}`, gitDir], {
      mode: 'own',
      cwd: directory,
      signal,
    })
    await mkdir(join(gitDir, 'objects', 'info'), { recursive: true })
    if (place.repository !== undefined) {
      await writeFile(join(gitDir, 'objects', 'info', 'alternates'), `${quoted(place.repository.objects)}\n`)
      const shallow = await readFile(place.repository.shallow, 'latin1').catch(() => '')
      if (shallow !== '') await writeFile(join(gitDir, 'shallow'), shallow)
    }
    const index = join(directory, 'index')
    return {
      directory,
      gitDir,
      index,
      workEnv: {
        GIT_DIR: place.repository?.gitDir ?? gitDir,
        GIT_WORK_TREE: place.root,
        GIT_OBJECT_DIRECTORY: join(gitDir, 'objects'),
        GIT_INDEX_FILE: index,
      },
      [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
    }
  } catch (error) {
    await rm(directory, { recursive: true, force: true })
    throw error
  }
}

/** The same objects, extended by another repository's, with an index of its own: for a submodule of the place. */
export async function lend(scratch: Scratch, place: Place, index: string): Promise<Scratch> {
  const { repository } = place
  if (repository === undefined) throw new Error(`${place.root} is no repository`)
  await appendFile(join(scratch.gitDir, 'objects', 'info', 'alternates'), `${quoted(repository.objects)}\n`)
  const boundary = join(scratch.gitDir, 'shallow')
  const [known, shallow] = await Promise.all(
    [boundary, repository.shallow].map((file) => readFile(file, 'latin1').catch(() => '')),
  )
  if (shallow !== undefined && known?.includes(shallow) !== true) await appendFile(boundary, shallow)
  const own = join(scratch.directory, index)
  return {
    ...scratch,
    index: own,
    workEnv: { ...scratch.workEnv, GIT_DIR: repository.gitDir, GIT_WORK_TREE: place.root, GIT_INDEX_FILE: own },
    [Symbol.asyncDispose]: async () => {}, // whoever opened the first one disposes of all
  }
}

/** Runs git on the scratch repository. */
export const scratchGit =
  (scratch: Scratch, signal?: AbortSignal, env: Record<string, string> = { GIT_DIR: scratch.gitDir }): RunGit =>
  async (args, input) => {
    const options = { mode: 'own', cwd: scratch.directory, env, signal } as const
    return (await git(args, input === undefined ? options : { ...options, input })).stdout
  }

/** As git reads a line of `alternates`: quoted like a C string. */
const quoted = (path: string): string =>
  `"${path.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n').replaceAll('\t', '\\t')}"`
