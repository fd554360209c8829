/**
 * Files that git-lfs keeps. They travel as what they are in the working tree: real content where the user has it, a pointer
 * where not (docs/decisions/010). So the task needs no git-lfs, and git-lfs has no part in capture and apply: it turns content
 * into a pointer when the user commits, as always.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, open } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import { bytesOf, type GitConfig, type GitOutput, splitNul, textOf } from './git.ts'

/** For git that reads or writes the working tree: no conversion either way. Other filters are the user's and stay. */
export const LFS_OFF: GitConfig = [
  ['filter.lfs.clean', ''],
  ['filter.lfs.smudge', ''],
  ['filter.lfs.process', ''],
  ['filter.lfs.required', 'false'],
]

/** A pathspec. */
export const LFS_PATHS = ':(top,attr:filter=lfs)'
/** https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md#the-pointer: never longer. */
export const MAX_POINTER_BYTES = 1_024

export interface LfsPointer {
  /** SHA-256 of the content. */
  oid: string
  size: number
}

export function parsePointer(text: string): LfsPointer | undefined {
  if (text.length > MAX_POINTER_BYTES || !/^version https:\/\/(git-lfs|hawser)\.github\.com\/spec\//.test(text))
    return undefined
  const oid = /^oid sha256:([0-9a-f]{64})$/m.exec(text)?.[1]
  const size = /^size (\d+)$/m.exec(text)?.[1]
  return oid === undefined || size === undefined ? undefined : { oid, size: Number(size) }
}

type Run = (args: string[], input?: Uint8Array, answers?: number[], config?: GitConfig) => Promise<GitOutput>

export interface LfsFiles {
  /** Paths, one character per byte, whose content is here. */
  real: string[]
  /** How many are pointers in the working tree. */
  pointers: number
}

/** In a captured index; files that are not on disk count as neither. */
export async function lfsFiles(root: string, run: Run): Promise<LfsFiles> {
  const found: LfsFiles = { real: [], pointers: 0 }
  for (const path of splitNul((await run(['ls-files', '-z', LFS_PATHS])).stdout)) {
    const file = Buffer.concat([Buffer.from(`${root}/`), bytesOf(path)])
    const stat = await lstat(file).catch(() => undefined)
    if (stat?.isFile() !== true) continue
    if (stat.size <= MAX_POINTER_BYTES && parsePointer(await beginningOf(file)) !== undefined) found.pointers++
    else found.real.push(path)
  }
  return found
}

async function beginningOf(file: Buffer): Promise<string> {
  await using handle = await open(file)
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(MAX_POINTER_BYTES), 0, MAX_POINTER_BYTES, 0)
  return buffer.toString('latin1', 0, bytesRead)
}

/** The index knows them as pointers and would trust their times: without times they are read again, as they are. */
export async function forgetPointers(files: LfsFiles, run: Run): Promise<void> {
  const real = new Set(files.real)
  if (real.size === 0) return
  const entries = splitNul((await run(['ls-files', '-s', '-z', LFS_PATHS])).stdout).filter((entry) =>
    real.has(entry.slice(entry.indexOf('\t') + 1)),
  )
  await run(['update-index', '-z', '--index-info'], bytesOf(entries.map((entry) => `${entry}\0`).join('')))
}

/**
 * What comes back could not be committed. The filter is looked for and not run: git-lfs writes hooks and objects into the
 * repository as it goes.
 * @throws {RclaudeError} `invalid` when the configuration insists on a filter that is not installed
 */
export async function refuseMissingLfs(path: string, run: Run): Promise<void> {
  const ask = async (key: string) =>
    (await run(['config', '--get', `filter.lfs.${key}`], undefined, [1], [])).stdout.trim()
  const [required, whole, clean] = await Promise.all([ask('required'), ask('process'), ask('clean')])
  const command = (whole === '' ? clean : whole).split(' ')[0] ?? ''
  if (required !== 'true' || command === '') return
  const found = await new Promise<boolean>((resolve) => {
    const search = 'PATH="$(git --exec-path):$PATH" command -v "$0"'
    execFile('/bin/sh', ['-c', search, command], (error) => resolve(error === null))
  })
  if (!found)
    throw new RclaudeError(
      'invalid',
      `${textOf(path)} needs git's filter "lfs", whose ${command} is not installed; install git-lfs and run git lfs install, then try again`,
    )
}

/** The file's content is what the pointer names: nothing was changed. */
export async function isContentOf(pointer: LfsPointer, root: string, path: string): Promise<boolean> {
  const file = Buffer.concat([Buffer.from(`${root}/`), bytesOf(path)])
  if ((await lstat(file).catch(() => undefined))?.size !== pointer.size) return false
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex') === pointer.oid
}
