/** Content back into git-lfs pointers, for a branch: the user's own git-lfs makes them and keeps the content. */
import { createReadStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { RclaudeError } from '../../protocol/errors.ts'
import { bytesOf, complaint, git, splitNul, textOf } from './git.ts'
import { LFS_PATHS, MAX_POINTER_BYTES, parsePointer } from './lfs.ts'
import type { Place } from './place.ts'
import { type Scratch, scratchGit } from './scratch.ts'

/** The tree with a pointer for every file that its attributes give to git-lfs; itself where the user has no git-lfs filter. */
export async function withPointers(
  tree: string,
  place: Place,
  scratch: Scratch,
  signal?: AbortSignal,
): Promise<string> {
  // In a bare repository git reads no attributes from the index, so this one gets a work tree, without files.
  const { directory, gitDir } = scratch
  const env = { GIT_DIR: gitDir, GIT_WORK_TREE: directory, GIT_INDEX_FILE: join(directory, 'pointers') }
  const run = scratchGit(scratch, signal, env)
  await run(['read-tree', tree])
  const entries = splitNul(await run(['ls-files', '-s', '-z', LFS_PATHS])).map((entry) => {
    const [, mode = '', id = '', path = ''] = /^(\d+) ([0-9a-f]+) 0\t(.*)$/s.exec(entry) ?? []
    return { mode, id, path }
  })
  const files = entries.filter(({ mode }) => mode.startsWith('100'))
  if (files.length === 0 || !(await hasFilter(place))) return tree
  const lines: string[] = []
  for (const { mode, id, path } of files) {
    const pointer = await pointerFor(id, path, place, scratch, signal)
    if (pointer !== undefined) lines.push(`${mode} ${pointer} 0\t${path}\0`)
  }
  await run(['update-index', '-z', '--index-info'], bytesOf(lines.join('')))
  return (await run(['write-tree'])).trim()
}

async function hasFilter(place: Place): Promise<boolean> {
  const args = ['config', '--get-regexp', '^filter\\.lfs\\.(clean|process)$']
  return (await git(args, { mode: 'user', cwd: place.root, answers: [1] })).code === 0
}

/** The blob of the pointer; undefined when it is one already. */
async function pointerFor(
  blob: string,
  path: string,
  place: Place,
  scratch: Scratch,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const run = scratchGit(scratch, signal)
  const size = Number(await run(['cat-file', '-s', blob]))
  if (size <= MAX_POINTER_BYTES && parsePointer(await run(['cat-file', 'blob', blob])) !== undefined) return undefined
  const file = join(scratch.directory, (await run(['unpack-file', blob])).trim())
  try {
    const made = await git(['lfs', 'clean', '--', textOf(path)], {
      mode: 'user',
      cwd: place.root,
      input: createReadStream(file),
      answers: [1, 2, 127, 128],
      signal,
    })
    if (made.code !== 0)
      throw new RclaudeError(
        'invalid',
        `${textOf(path)} belongs to git-lfs, which failed here: ${complaint(made.stderr)}; install git-lfs and run git lfs install, or use rclaude apply`,
      )
    return (await run(['hash-object', '-w', '--stdin'], bytesOf(made.stdout))).trim()
  } finally {
    await rm(file, { force: true })
  }
}
