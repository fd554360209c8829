/**
 * Writing side of `/files`: at once or not at all. The bytes go to a temporary file in the same directory, which is
 * synced and then takes the name. A client that vanishes, a full disk or any other failure leaves the old file as it was
 * and no temporary file.
 */
import { randomBytes } from 'node:crypto'
import { type BigIntStats, constants, createReadStream } from 'node:fs'
import { type FileHandle, link, lstat, open, rename, rmdir, unlink } from 'node:fs/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import { fill } from '../files/fill.ts'
import { etagOf, modeOf } from '../files/stats.ts'
import { hasCode, joinBytes, type Place, quoted } from '../files/tree.ts'
import { deleteTree } from './file-change.ts'
import { matches, refuseSpecial } from './file-read.ts'
import { serially } from './file-turns.ts'

const DEFAULT_MODE = 0o644
const COPY_BYTES = 256 * 1024

export interface Conditions {
  ifMatch: string | undefined
  ifNoneMatch: string | undefined
}

export interface WriteOptions extends Conditions {
  /** Otherwise that of the file that is there, or 0644. */
  mode: number | undefined
  /** Otherwise now. */
  mtimeMs?: number | undefined
}

export interface Written {
  created: boolean
  stats: BigIntStats
}

/** @param content its bytes; or the path of a file of ours, which is moved where that is possible, and copied elsewhere */
export async function writeFile(
  place: Place,
  content: AsyncIterable<Buffer> | string,
  options: WriteOptions,
): Promise<Written> {
  const name = place.name
  if (name === undefined) throw new RclaudeError('conflict', 'the workspace itself is a directory')
  refuseToReplace(name, place.stats, options)
  const temporary = joinBytes(place.parent, Buffer.from(`.rclaude-upload-${randomBytes(8).toString('hex')}`))
  const moved = typeof content === 'string' ? await moveTo(temporary, content) : undefined
  const file =
    moved ??
    (await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600))
  try {
    if (moved === undefined)
      await fill(file, typeof content === 'string' ? createReadStream(content, { highWaterMark: COPY_BYTES }) : content)
    const mode = options.mode ?? (place.stats === undefined ? DEFAULT_MODE : modeOf(place.stats))
    await file.chmod(mode)
    if (options.mtimeMs !== undefined) await file.utimes(options.mtimeMs / 1_000, options.mtimeMs / 1_000)
    await file.sync()
    const created = await serially(() => takeName(place, name, temporary, options))
    return { created, stats: await file.stat({ bigint: true }) }
  } catch (error) {
    await unlink(temporary).catch(() => {}) // it may have its name already, or be gone
    throw error
  } finally {
    await file.close()
  }
}

/** A file or a symlink, never what it points at; or an empty directory, or with `recursive` a full one. */
export async function deleteFile(place: Place, conditions: Conditions, recursive = false): Promise<void> {
  const { name, path } = place
  if (name === undefined) throw new RclaudeError('conflict', 'the workspace itself cannot be deleted')
  await serially(async () => {
    const stats = await lstat(path, { bigint: true })
    refuseUnmet(name, stats, conditions)
    if (stats.isDirectory() && recursive) await deleteTree(path)
    else if (stats.isDirectory()) await rmdir(path)
    else await unlink(path)
  })
}

/** @returns it, open, by no name that others could have changed meanwhile; undefined when it lies on another disk */
async function moveTo(temporary: Buffer, path: string): Promise<FileHandle | undefined> {
  const file = await open(path, constants.O_WRONLY | constants.O_NOFOLLOW)
  try {
    await rename(path, temporary)
    return file
  } catch (error) {
    await file.close()
    if (hasCode(error, 'EXDEV')) return undefined
    throw error
  }
}

/** @returns whether the name is new */
async function takeName(place: Place, name: Buffer, temporary: Buffer, options: WriteOptions): Promise<boolean> {
  const present = await lstat(place.path, { bigint: true }).catch(() => undefined)
  refuseToReplace(name, present, options)
  if (options.ifNoneMatch === '*') {
    // link() fails when the name was taken a moment ago, by whomever; rename() would replace it.
    await link(temporary, place.path).catch((error: unknown) => {
      throw hasCode(error, 'EEXIST') ? unmet(name, 'exists already') : error
    })
    await unlink(temporary)
  } else await rename(temporary, place.path)
  return present === undefined
}

function refuseToReplace(name: Buffer, stats: BigIntStats | undefined, conditions: Conditions): void {
  refuseUnmet(name, stats, conditions)
  if (stats === undefined) return
  if (stats.isSymbolicLink()) throw new RclaudeError('conflict', `${quoted(name)} became a symbolic link meanwhile`)
  refuseSpecial(stats)
  if (stats.isDirectory()) throw new RclaudeError('conflict', `${quoted(name)} is a directory`)
}

function refuseUnmet(name: Buffer, stats: BigIntStats | undefined, { ifMatch, ifNoneMatch }: Conditions): void {
  const etag = stats === undefined ? undefined : etagOf(stats)
  if (ifMatch !== undefined && (etag === undefined || !matches(ifMatch, etag)))
    throw unmet(name, etag === undefined ? 'does not exist' : `has changed, it is ${etag} now`)
  if (ifNoneMatch !== undefined && etag !== undefined && matches(ifNoneMatch, etag)) throw unmet(name, 'exists already')
}

function unmet(name: Buffer, what: string): RclaudeError {
  return new RclaudeError('precondition', `${quoted(name)} ${what}; nothing was changed`)
}
