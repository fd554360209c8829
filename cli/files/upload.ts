/** From here to a task. What is large goes in parts under an id of its content's marks, so that a later call goes on with it. */
import { isUtf8 } from 'node:buffer'
import { createHash } from 'node:crypto'
import { createReadStream, type Stats } from 'node:fs'
import { lstat, open, readdir, readlink, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { RclaudeError } from '../../protocol/errors.ts'
import { joinPath } from './location.ts'
import type { RemoteFiles } from './remote.ts'
import { insist, leftOut, notUtf8, Pool, type Transfer } from './transfer.ts'

/** Up to this a file goes in one request, and again from the start when that is cut. */
const PART_BYTES = 16 * 1024 * 1024

/** @param target what `path` becomes */
export async function upload(remote: RemoteFiles, transfer: Transfer, path: string, target: string): Promise<void> {
  const stats = await stat(path).catch((error: unknown) => {
    throw new RclaudeError('invalid', `cannot read ${path}: ${(error as Error).message}`)
  })
  const pool = new Pool()
  const copy = new Upload(remote, transfer, pool)
  if (stats.isDirectory()) await copy.directory(path, target)
  else copy.file(path, stats, target)
  await pool.run()
}

class Upload {
  readonly #remote: RemoteFiles
  readonly #transfer: Transfer
  readonly #pool: Pool

  constructor(remote: RemoteFiles, transfer: Transfer, pool: Pool) {
    this.#remote = remote
    this.#transfer = transfer
    this.#pool = pool
  }

  async directory(path: string, target: string): Promise<void> {
    if (target !== '') await insist(this.#transfer, () => this.#remote.change(target, { op: 'mkdir', parents: true }))
    for (const bytes of (await readdir(path, { encoding: 'buffer' })).sort(Buffer.compare)) {
      const name = bytes.toString()
      const from = join(path, name)
      const to = joinPath(target, name)
      try {
        if (!isUtf8(bytes)) throw notUtf8('name')
        const stats = await lstat(from)
        if (stats.isDirectory()) await this.directory(from, to)
        else if (stats.isSymbolicLink()) await this.#link(from, to)
        else this.file(from, stats, to)
      } catch (error) {
        this.#transfer.failed(from, error)
      }
    }
  }

  async #link(from: string, to: string): Promise<void> {
    const bytes = await readlink(from, { encoding: 'buffer' })
    if (!isUtf8(bytes)) throw notUtf8('target')
    const target = bytes.toString()
    const present = await this.#remote.stat(to)
    if (present?.type === 'symlink' && present.target === target) return
    await this.#remote.change(to, { op: 'symlink', target })
  }

  file(path: string, stats: Stats, target: string): void {
    if (!stats.isFile()) {
      this.#transfer.failed(path, leftOut('what is neither file nor directory'))
      return
    }
    this.#transfer.progress.expect(stats.size)
    this.#pool.add(async () => {
      try {
        if (stats.size <= PART_BYTES) await this.#sendWhole(path, target)
        else await this.#sendParts(path, stats, target)
      } catch (error) {
        this.#transfer.failed(path, error)
      }
    })
  }

  async #sendWhole(path: string, target: string): Promise<void> {
    const { bytes, stats } = await readWhole(path)
    await insist(this.#transfer, () => this.#remote.put(target, new Uint8Array(bytes), { query: factsOf(stats) }))
    this.#transfer.progress.add(path, bytes.length)
    await refuseChanged(path, stats)
  }

  async #sendParts(path: string, stats: Stats, target: string): Promise<void> {
    try {
      await this.#insistOnParts(path, stats, target)
    } finally {
      await refuseChanged(path, stats) // then this is why, whatever else was said
    }
  }

  async #insistOnParts(path: string, stats: Stats, target: string): Promise<void> {
    const { size } = stats
    const id = idOf(this.#remote.taskId, path, stats, target)
    let counted = 0
    await insist(this.#transfer, async (retries) => {
      let at = await this.#remote.received(target, id)
      if (at > counted) this.#transfer.progress.resume(at - counted)
      if (at === 0 && counted > 0 && (await this.#hasArrived(stats, target))) return // only the last answer was lost
      do {
        const end = Math.min(size, at + PART_BYTES)
        const range = end === at ? `bytes ${at}-${at}/${size}` : `bytes ${at}-${end - 1}/${size}`
        const body =
          end === at
            ? new Uint8Array(0)
            : (Readable.toWeb(createReadStream(path, { start: at, end: end - 1 })) as never)
        await this.#remote.put(target, body, {
          query: { ...factsOf(stats), upload: id },
          headers: { 'content-range': range },
        })
        retries.reset()
        this.#transfer.progress.add(path, end - at)
        at = end
        counted = at
      } while (at < size)
    })
  }

  async #hasArrived(stats: Stats, target: string): Promise<boolean> {
    const there = await this.#remote.stat(target)
    // Set in seconds, as a fraction that may not come out as the same millisecond.
    return there?.size === stats.size && Math.abs(there.mtimeMs - mtimeOf(stats)) <= 1
  }
}

/** With the facts of the very file whose bytes these are. */
async function readWhole(path: string): Promise<{ bytes: Buffer; stats: Stats }> {
  const file = await open(path)
  try {
    const stats = await file.stat()
    return { stats, bytes: await file.readFile() }
  } finally {
    await file.close()
  }
}

async function refuseChanged(path: string, { size, mtimeMs }: Stats): Promise<void> {
  const now = await stat(path)
  if (now.size !== size || now.mtimeMs !== mtimeMs)
    throw new RclaudeError('conflict', 'it changed while it was sent: send it again')
}

const mtimeOf = ({ mtimeMs }: Stats): number => Math.floor(mtimeMs)

const factsOf = (stats: Stats) => ({
  mode: (stats.mode & 0o777).toString(8).padStart(4, '0'),
  mtimeMs: String(mtimeOf(stats)),
})

/** Another version of the file is another upload. */
const idOf = (taskId: string, path: string, { size, mtimeMs, ino }: Stats, target: string): string =>
  createHash('sha256')
    .update([taskId, resolve(path), size, mtimeMs, ino, target].join('\0'))
    .digest('base64url')
    .slice(0, 32)
