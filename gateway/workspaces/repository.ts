/** One bare repository on the gateway's disk: made, read and measured. */
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { git } from './git.ts'

export type ObjectFormat = 'sha1' | 'sha256'

/** Found in old, respectable histories; what hosting services let pass as well. Everything else stops a push. */
const HARMLESS_FLAWS = [
  'badTimezone',
  'zeroPaddedFilemode',
  'missingSpaceBeforeDate',
  'missingSpaceBeforeEmail',
  'missingNameBeforeEmail',
  'missingTaggerEntry',
]

export async function createRepository(
  path: string,
  options: { objectFormat: ObjectFormat; maxInputBytes: number },
): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
  await git(['init', '-q', '--bare', '--template=', `--object-format=${options.objectFormat}`, path], {
    repository: path,
  })
  const flaws = HARMLESS_FLAWS.map((flaw) => `\t${flaw} = ignore\n`).join('')
  const config = [
    '[core]\n\thooksPath = /dev/null\n\tlogAllRefUpdates = false\n',
    '[gc]\n\tauto = 0\n',
    '[transfer]\n\tfsckObjects = true\n\tunpackLimit = 1\n',
    `[receive]\n\tdenyDeletes = true\n\tshallowUpdate = true\n\tautogc = false\n\tadvertiseAtomic = true\n\tmaxInputSize = ${options.maxInputBytes}\n`,
    `[receive "fsck"]\n${flaws}[fetch "fsck"]\n${flaws}`,
  ].join('')
  const file = join(path, 'config')
  await writeFile(file, (await readFile(file, 'utf8')) + config)
}

export async function readRefs(repository: string, prefix = 'refs/'): Promise<Map<string, string>> {
  const { stdout } = await git(['for-each-ref', '--format=%(objectname) %(refname)', prefix], { repository })
  return new Map(
    stdout.split('\n').flatMap((line) => {
      const [id, ref] = line.split(' ')
      return id !== undefined && ref !== undefined ? [[ref, id] as const] : []
    }),
  )
}

export const alternatesFile = (repository: string): string => join(repository, 'objects', 'info', 'alternates')

/**
 * Where the lender's history ends, the borrower's must be known to end as well: a client that is offered the lender's
 * tips would otherwise leave out older commits that nobody here has.
 */
export async function borrow(repository: string, from: string): Promise<void> {
  const shallow = await readFile(join(from, 'shallow'), 'utf8').catch(() => '')
  if (shallow !== '') await writeFile(join(repository, 'shallow'), shallow)
  await mkdir(join(repository, 'objects', 'info'), { recursive: true })
  await writeFile(alternatesFile(repository), `${join(from, 'objects')}\n`)
}

export async function borrowsFrom(repository: string): Promise<string | undefined> {
  const text = await readFile(alternatesFile(repository), 'utf8').catch(() => '')
  return text.trim() === '' ? undefined : text.trim().replace(/\/objects$/, '')
}

/** Of a repository that holds nothing yet. */
export async function stopBorrowing(repository: string): Promise<void> {
  for (const file of [alternatesFile(repository), join(repository, 'shallow')]) await rm(file, { force: true })
}

/** Copies every object that its refs need into the repository itself, and forgets where it borrowed from. */
export async function makeSelfContained(repository: string, signal?: AbortSignal): Promise<void> {
  await git(['repack', '-a', '-d', '-q', '--no-write-bitmap-index'], { repository, signal })
  const alternates = await readFile(alternatesFile(repository), 'utf8')
  await rm(alternatesFile(repository))
  try {
    await forgetForeignBoundaries(repository)
    await checkConnected(repository, signal)
  } catch (error) {
    await writeFile(alternatesFile(repository), alternates)
    throw error
  }
}

/** Boundaries that came with the lender and lie outside of what is kept. */
async function forgetForeignBoundaries(repository: string): Promise<void> {
  const file = join(repository, 'shallow')
  const shallow = await readFile(file, 'utf8').catch(() => '')
  if (shallow === '') return
  const { stdout } = await git(['cat-file', '--batch-check=%(objectname)'], { repository, input: Buffer.from(shallow) })
  const kept = stdout.split('\n').filter((line) => /^[0-9a-f]+$/.test(line))
  if (kept.length === 0) await rm(file)
  else await writeFile(file, kept.map((id) => `${id}\n`).join(''))
}

export const checkConnected = async (repository: string, signal?: AbortSignal): Promise<void> => {
  await git(['rev-list', '--objects', '--quiet', '--all'], { repository, signal })
}

/** Bytes on disk, as far as files can still be found while it changes. */
export async function diskBytes(path: string): Promise<number> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true }).catch(() => [])
  const sizes = await Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map((entry) => stat(join(entry.parentPath, entry.name)).catch(() => undefined)),
  )
  return sizes.reduce((sum, found) => sum + (found === undefined ? 0 : found.blocks * 512), 0)
}
