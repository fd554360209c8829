/**
 * Trees as tar: `GET /files/DIR?format=tar`, and `POST /files/DIR` with `application/x-tar`, which unpacks. Every name of
 * an archive is walked like a path of a request, links refused, so that neither a name nor a link that the archive itself
 * made leads anywhere else. Both ways one piece is in memory at a time.
 */
import { constants } from 'node:fs'
import { lstat, open, readdir, readlink, symlink } from 'node:fs/promises'
import type { Context } from 'hono'
import { type Extract, type ExtractEvents, extract, type Header } from 'tar-stream'
import { RclaudeError } from '../../protocol/errors.ts'
import type { UnpackedTree } from '../../protocol/file.ts'
import { modeOf } from '../files/stats.ts'
import { TAR_END, type TarEntry, tarBreak, tarHeader, tarPadding } from '../files/tar-header.ts'
import {
  descriptorPath,
  findPlace,
  HAS_PROC,
  hasCode,
  joinBytes,
  openDirectory,
  type Place,
  quoted,
} from '../files/tree.ts'
import { type ChangeOptions, changeTree, namesOfPath } from './file-change.ts'
import { writeFile } from './file-write.ts'
import { type AgentEnv, type Answer, stream } from './send.ts'

type Source = ExtractEvents['entry'][1]

/** Names come as one character for each byte. The types of tar-stream do not know the option. */
const LATIN1 = { filenameEncoding: 'latin1' } as object
const READ_BYTES = 256 * 1024

/** What cannot be read is left out, and the archive is broken off behind all the rest, so that nobody takes it for the whole. */
export function answerTar(c: Context<AgentEnv>, place: Place): Promise<Response> {
  return stream(c, { 'content-type': 'application/x-tar' }, async (answer) => {
    const leftOut = await sendDirectory(answer, place.path, Buffer.alloc(0))
    await answer.write(leftOut > 0 ? tarBreak() : TAR_END)
    return undefined
  })
}

/** @returns how many entries could not be read */
async function sendDirectory(answer: Answer, path: Buffer, prefix: Buffer): Promise<number> {
  let leftOut = 0
  const handle = await openDirectory(path)
  try {
    const here = HAS_PROC ? descriptorPath(handle) : path
    for (const name of (await readdir(here, { encoding: 'buffer' })).sort(Buffer.compare)) {
      answer.signal.throwIfAborted()
      leftOut += await sendEntry(answer, joinBytes(here, name), Buffer.concat([prefix, name]))
    }
  } finally {
    await handle.close()
  }
  return leftOut
}

async function sendEntry(answer: Answer, path: Buffer, name: Buffer): Promise<number> {
  try {
    const stats = await lstat(path, { bigint: true })
    const facts = { mode: modeOf(stats), mtime: stats.mtime }
    if (stats.isDirectory()) {
      const directory = Buffer.concat([name, Buffer.from('/')])
      await answer.write(tarHeader({ ...facts, type: 'directory', name: directory }))
      return await sendDirectory(answer, path, directory)
    }
    if (stats.isSymbolicLink()) {
      const target = await readlink(path, { encoding: 'buffer' })
      await answer.write(tarHeader({ ...facts, type: 'symlink', name, target }))
    } else if (stats.isFile()) await sendFile(answer, path, { ...facts, type: 'file', name })
    return 0
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return 0 // deleted since the directory was read
    if (hasCode(error, 'EACCES', 'EPERM')) return 1
    throw error
  }
}

/** One that grows meanwhile is sent as long as it was; one that shrinks breaks the archive, which is seen. */
async function sendFile(answer: Answer, path: Buffer, entry: TarEntry): Promise<void> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const { size } = await file.stat()
    await answer.write(tarHeader({ ...entry, size }))
    for (let at = 0; at < size; ) {
      answer.signal.throwIfAborted()
      const room = Buffer.allocUnsafe(Math.min(READ_BYTES, size - at))
      const { bytesRead } = await file.read(room, 0, room.length, at)
      if (bytesRead === 0) throw new Error(`${quoted(entry.name)} became shorter while it was sent`)
      await answer.write(room.subarray(0, bytesRead))
      at += bytesRead
    }
    await answer.write(tarPadding(size))
  } finally {
    await file.close()
  }
}

interface Writing {
  once(event: 'drain' | 'close', listener: () => void): unknown
  off(event: 'drain' | 'close', listener: () => void): unknown
  destroyed: boolean
}

/** @throws when it was destroyed instead, as when the client is gone */
async function roomIn(stream: Writing): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = () => {
      stream.off('drain', done)
      stream.off('close', done)
      resolve()
    }
    stream.once('drain', done)
    stream.once('close', done)
    if (stream.destroyed) done()
  })
  if (stream.destroyed) throw new Error('the archive was cut')
}

/** Entry by entry; one that is refused ends it, and those before it stay. */
export async function unpackTar(
  options: ChangeOptions,
  directory: readonly Buffer[],
  body: AsyncIterable<Buffer>,
): Promise<UnpackedTree> {
  const archive = extract(LATIN1)
  const feeding = feed(archive, body)
  feeding.catch((error: Error) => archive.destroy(error))
  const unpacked = { files: 0, directories: 0, symlinks: 0 }
  try {
    await unpackAll(options, directory, archive, unpacked)
  } catch (error) {
    if (error instanceof Error && /^(Invalid tar|Unexpected end)/.test(error.message))
      throw new RclaudeError('invalid', `the body is no whole tar: ${error.message}`, { cause: error })
    throw error
  }
  await feeding
  return unpacked
}

async function unpackAll(
  options: ChangeOptions,
  directory: readonly Buffer[],
  archive: Extract,
  unpacked: UnpackedTree,
) {
  for await (const entry of archive) {
    const names = [...directory, ...namesInArchive(bytesOf(entry.header.name, entry.header.pax, 'path'))]
    if (names.length > directory.length) await unpackEntry(options, names, entry, unpacked)
    entry.resume()
  }
}

async function feed(archive: Extract, body: AsyncIterable<Buffer>): Promise<void> {
  for await (const chunk of body) if (!archive.write(chunk)) await roomIn(archive)
  archive.end(undefined)
}

async function unpackEntry(
  options: ChangeOptions,
  names: Buffer[],
  entry: Source,
  unpacked: UnpackedTree,
): Promise<void> {
  const { type, name, mode, linkname, pax } = entry.header
  const place = await findPlace(options.root, names, { followLast: false, refuseLinks: true, create: true })
  if (type === 'directory') {
    await place.close()
    if (place.stats === undefined) await changeTree(options, names, { op: 'mkdir', parents: true })
    unpacked.directories++
    return
  }
  try {
    if (type === 'symlink') {
      await symlink(bytesOf(linkname ?? '', pax, 'linkpath'), place.path)
      unpacked.symlinks++
    } else if (type === 'file' || type === 'contiguous-file') {
      const conditions = { ifMatch: undefined, ifNoneMatch: undefined }
      const { mtime } = entry.header
      await writeFile(place, entry as AsyncIterable<Buffer>, {
        ...conditions,
        mode: (mode ?? 0o644) & 0o777,
        mtimeMs: mtime?.getTime(),
      })
      unpacked.files++
    } else
      throw new RclaudeError(
        'unsupported',
        `the archive holds ${quoted(bytesOf(name, pax, 'path'))}, a ${type}: only files, directories and symlinks are unpacked`,
      )
  } finally {
    await place.close()
  }
}

/** Extended headers (pax) are UTF-8, and what is not has lost its bytes when it comes here. */
function bytesOf(name: string, pax: Header['pax'], key: 'path' | 'linkpath'): Buffer {
  if ((pax as Record<string, string> | null | undefined)?.[key] !== name) return Buffer.from(name, 'latin1')
  if (name.includes('\ufffd'))
    throw new RclaudeError(
      'invalid',
      `${JSON.stringify(name)} in an extended header of the archive is not UTF-8: make it with tar --format=gnu`,
    )
  return Buffer.from(name, 'utf8')
}

/** `./` in front and doubled slashes are usual in archives; `..` and absolute paths are refused. */
function namesInArchive(path: Buffer): Buffer[] {
  const name = path.toString('latin1')
  if (name.startsWith('/')) throw new RclaudeError('invalid', `the archive holds an absolute path: ${quoted(path)}`)
  const parts = name.split('/').filter((part) => part !== '' && part !== '.')
  return parts.length === 0 ? [] : namesOfPath(Buffer.from(parts.join('/'), 'latin1'))
}
