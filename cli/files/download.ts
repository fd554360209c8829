/**
 * From a task to here. The task is hostile: a name of its is one name and no path, no directory is entered through a link,
 * what is written takes its name by rename, which follows none, and links that lead out of what is copied are left out.
 */
import { createHash } from 'node:crypto'
import { constants, createWriteStream } from 'node:fs'
import { chmod, lstat, mkdir, rename, rm, stat, symlink, utimes } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import type { DirectoryEntry, FileStat } from '../../protocol/file.ts'
import { baseName, checkName, joinPath } from './location.ts'
import type { RemoteFiles } from './remote.ts'
import { insist, leftOut, notUtf8, Pool, type Transfer } from './transfer.ts'

/** @param target what `path` becomes */
export async function download(remote: RemoteFiles, transfer: Transfer, path: string, target: string): Promise<void> {
  // What was named is followed when it is a link, as scp does.
  const found = await remote.stat(path, true)
  if (found === undefined) throw new RclaudeError('not_found', `the task has no ${path}`)
  const pool = new Pool()
  const copy = new Download(remote, transfer, pool, path)
  if (found.type === 'directory') await copy.directory(path, target, true)
  else copy.file(path, found, target)
  await pool.run()
}

/** A task that guesses the name may have made a link of it: that is not followed. */
const PART_FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW

/** The agent reads this much in one call, so that up to here nothing can change in the middle. */
const READ_AT_ONCE_BYTES = 256 * 1024

class Download {
  readonly #remote: RemoteFiles
  readonly #transfer: Transfer
  readonly #pool: Pool
  readonly #top: string

  constructor(remote: RemoteFiles, transfer: Transfer, pool: Pool, top: string) {
    this.#remote = remote
    this.#transfer = transfer
    this.#pool = pool
    this.#top = top
  }

  /** @param isNamed the user named it: a link here may lead to it */
  async directory(path: string, target: string, isNamed = false): Promise<void> {
    await makeDirectory(target, isNamed)
    for (const entry of await insist(this.#transfer, () => this.#remote.list(path))) {
      try {
        if (entry.nameBase64 !== undefined) throw notUtf8('name')
        const name = checkName(entry.name)
        await this.#entry(joinPath(path, name), entry, join(target, name))
      } catch (error) {
        this.#transfer.failed(joinPath(path, entry.name), error)
      }
    }
  }

  async #entry(path: string, entry: DirectoryEntry, target: string): Promise<void> {
    if (entry.type === 'directory') await this.directory(path, target)
    else if (entry.type === 'symlink') await this.#link(path, entry.target ?? '', target)
    else this.file(path, entry, target)
  }

  file(path: string, entry: DirectoryEntry, target: string): void {
    if (entry.type !== 'file') {
      this.#transfer.failed(path, leftOut(`a ${entry.type}`))
      return
    }
    this.#transfer.progress.expect(entry.size)
    this.#pool.add(async () => {
      try {
        await this.#fetch(path, target)
      } catch (error) {
        this.#transfer.failed(path, error)
      }
    })
  }

  async #link(path: string, to: string, target: string): Promise<void> {
    if (to.includes('\ufffd')) throw notUtf8('target')
    const inside = normalize(join(dirname(path.slice(this.#top.length).replace(/^\//, '')), to))
    const goesBack = /[^/.][^/]*\/+\.\.(\/|$)/.test(to) // through another link that may lead anywhere
    if (to.startsWith('/') || goesBack || inside.startsWith('..') || to.includes('\0'))
      throw leftOut('a link that leads out of what is copied')
    const present = await lstat(target).catch(() => undefined)
    if (present?.isDirectory() === true) throw new RclaudeError('conflict', `${target} is a directory`)
    if (present !== undefined) await rm(target)
    await symlink(to, target)
  }

  async #fetch(path: string, target: string): Promise<void> {
    if ((await lstat(target).catch(() => undefined))?.isDirectory() === true)
      throw new RclaudeError('conflict', `${target} is a directory`)
    let part: string | undefined
    let facts: FileStat | undefined
    let isOneVersion = true
    let counted = 0
    await insist(this.#transfer, async (retries) => {
      const now = await this.#stat(path)
      const { etag = '' } = now
      facts = now
      const file = partOf(target, this.#remote.taskId, path, etag)
      if (part !== undefined && part !== file) await rm(part, { force: true }) // it changed: from the start
      part = file
      const have = await heldIn(file)
      const response = await this.#remote
        .get(path, {
          headers: have > 0 ? { range: `bytes=${have}-`, 'if-range': etag } : {},
        })
        .catch((error: unknown) => {
          if (have > 0 && have === now.size && error instanceof RclaudeError) return undefined // 416: all is here
          throw error
        })
      isOneVersion = response === undefined || response.headers.get('etag') === etag
      const from = response === undefined || response.status === 206 ? have : 0
      if (from > counted) this.#transfer.progress.resume(from - counted)
      counted = Math.max(counted, from)
      if (response === undefined) return
      const into = createWriteStream(file, {
        flags: PART_FLAGS | (from > 0 ? constants.O_APPEND : constants.O_TRUNC),
        mode: 0o600,
      } as never)
      const progress = this.#transfer.progress
      await pipeline(
        response.body === null ? Readable.from([]) : Readable.fromWeb(response.body as never),
        async function* (pieces: AsyncIterable<Uint8Array>) {
          for await (const piece of pieces) {
            retries.reset()
            counted += piece.length
            progress.add(path, piece.length)
            yield piece
          }
        },
        into,
      )
    })
    if (part === undefined || facts === undefined) return
    await chmod(part, facts.mode & 0o777)
    await utimes(part, facts.mtimeMs / 1_000, facts.mtimeMs / 1_000)
    await rename(part, target)
    if (isOneVersion && facts.size > READ_AT_ONCE_BYTES) isOneVersion = (await this.#stat(path)).etag === facts.etag
    if (!isOneVersion) throw new RclaudeError('conflict', 'it changed while it was fetched: fetch it again')
  }

  async #stat(path: string): Promise<FileStat> {
    const found = await this.#remote.stat(path, true)
    if (found === undefined) throw new RclaudeError('not_found', 'it is not there any more')
    return found
  }
}

/** Named by what it is a part of, so that a later call goes on with it, and never with another version. */
function partOf(target: string, taskId: string, path: string, etag: string): string {
  const mark = createHash('sha256').update([taskId, path, etag].join('\0')).digest('hex').slice(0, 16)
  return join(dirname(target), `.${baseName(target).slice(0, 100)}.${mark}.rclaude-part`)
}

/** Bytes of a part that is here. What is no file was put there by somebody else, and goes. */
async function heldIn(file: string): Promise<number> {
  const present = await lstat(file).catch(() => undefined)
  if (present?.isFile() === true) return present.size
  if (present !== undefined) await rm(file)
  return 0
}

async function makeDirectory(path: string, isNamed: boolean): Promise<void> {
  const present = await (isNamed ? stat : lstat)(path).catch(() => undefined)
  if (present === undefined) await mkdir(path)
  else if (!present.isDirectory()) throw new RclaudeError('conflict', `${path} is there and no directory`)
}
