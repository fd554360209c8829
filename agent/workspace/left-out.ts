/**
 * What a clone by URL does not bring: the submodules, and the content of files that git-lfs keeps. It is told and not
 * silently missing. Nothing of `.gitmodules` is read: the tree itself names the places.
 */
import type { Repositories } from './repositories.ts'

/** Named one by one; of more only the number is told. */
const MAX_NAMED = 10
const MODE_OF_SUBMODULE = '160000 '
const POINTER = '^version https://git-lfs.github.com/spec/'

/** @returns sentences for people; empty when the clone is whole */
export async function leftOut(repositories: Repositories, commit: string, signal?: AbortSignal): Promise<string[]> {
  const tree = await repositories.daemon(['ls-tree', '-r', '-z', commit], { signal })
  const submodules = listOf(tree.stdout)
    .filter((entry) => entry.startsWith(MODE_OF_SUBMODULE))
    .map((entry) => entry.slice(entry.indexOf('\t') + 1))
  const withAttribute = ['--cached', '-lz', '-e', POINTER, '--', ':(top,attr:filter=lfs)']
  const pointers = listOf((await repositories.inWork(['grep', ...withAttribute], { answers: [1], signal })).stdout)
  return [
    ...(submodules.length === 0
      ? []
      : [
          `not cloned, as submodules are not: ${named(submodules)}; those that need no credentials can be had with --setup "git submodule update --init"`,
        ]),
    ...(pointers.length === 0
      ? []
      : [`pointers without their content, as git-lfs keeps that elsewhere: ${named(pointers)}`]),
  ]
}

const listOf = (stdout: string): string[] => stdout.split('\0').filter((entry) => entry !== '')

/** Output of git comes byte by byte. */
function named(paths: readonly string[]): string {
  const names = paths.slice(0, MAX_NAMED).map((path) => Buffer.from(path, 'latin1').toString())
  return paths.length > MAX_NAMED ? `${names.join(', ')} and ${paths.length - MAX_NAMED} more` : names.join(', ')
}
