/** Reading side of `/files`: a regular file with ETag and Range, or a directory as JSON. */
import { isUtf8 } from 'node:buffer'
import { type BigIntStats, constants } from 'node:fs'
import { type FileHandle, lstat, open, readdir, readlink } from 'node:fs/promises'
import type { Context } from 'hono'
import { RclaudeError } from '../../protocol/errors.ts'
import type { DirectoryEntry, DirectoryListing, FileStat } from '../../protocol/file.ts'
import { etagOf, modeOf, typeOf } from '../files/stats.ts'
import { descriptorPath, HAS_PROC, hasCode, joinBytes, openDirectory, type Place } from '../files/tree.ts'
import { type AgentEnv, type Answer, stream } from './send.ts'

/** Most entries in one listing. */
const MAX_ENTRIES = 10_000
const READ_BYTES = 256 * 1024

export async function answerFile(c: Context<AgentEnv>, place: Place): Promise<Response> {
  const file = await open(place.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const stats = await file.stat({ bigint: true })
    refuseSpecial(stats)
    if (stats.isDirectory()) throw new RclaudeError('conflict', 'it became a directory meanwhile; try again')
    return await answerOpenFile(c, file, stats)
  } finally {
    await file.close()
  }
}

async function answerOpenFile(c: Context<AgentEnv>, file: FileHandle, stats: BigIntStats): Promise<Response> {
  const etag = etagOf(stats)
  const size = Number(stats.size)
  const common = { etag, 'accept-ranges': 'bytes', 'last-modified': stats.mtime.toUTCString() }
  if (matches(c.req.header('if-none-match'), etag)) return new Response(null, { status: 304, headers: common })

  const range = rangeOf(c, size, etag)
  if (range === 'unsatisfiable')
    return new Response(null, { status: 416, headers: { ...common, 'content-range': `bytes */${size}` } })
  const { from, to, status } = range ?? { from: 0, to: size, status: 200 }
  const headers = {
    ...common,
    'content-type': 'application/octet-stream',
    'content-length': String(to - from),
    ...(status === 206 && { 'content-range': `bytes ${from}-${to - 1}/${size}` }),
  }
  if (c.req.method === 'HEAD') return new Response(null, { status, headers })
  return stream(c, headers, (answer) => sendRange(file, from, to, answer), status)
}

/**
 * One piece is read while the one before is sent, into two buffers that take turns: new ones for each piece would have the
 * garbage collector busy for a third of the time.
 */
async function sendRange(file: FileHandle, from: number, to: number, answer: Answer): Promise<undefined> {
  const size = Math.min(READ_BYTES, to - from)
  let [free, busy] = [Buffer.allocUnsafe(size), Buffer.allocUnsafe(size)]
  let sent: Promise<void> | undefined
  for (let at = from; at < to && !answer.signal.aborted; [free, busy] = [busy, free]) {
    const { bytesRead } = await file.read(free, 0, Math.min(size, to - at), at)
    if (bytesRead === 0) throw new Error('the file became shorter while it was sent')
    await sent
    sent = answer.handOn(free.subarray(0, bytesRead))
    at += bytesRead
  }
  await sent
  return undefined
}

/** True for `*` and for any listed tag; weak ones compare as strong, for ours are. */
export function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false
  const tags = header.split(',').map((tag) => tag.trim().replace(/^W\//, ''))
  return tags.includes('*') || tags.includes(etag)
}

type Range = { from: number; to: number; status: 206 }

/** One range is served; several, or one that we cannot read, are answered with the whole, as the standard allows. */
function rangeOf(c: Context<AgentEnv>, size: number, etag: string): Range | 'unsatisfiable' | undefined {
  const ifRange = c.req.header('if-range')
  if (ifRange !== undefined && ifRange !== etag) return undefined
  const match = /^bytes=(\d*)-(\d*)$/.exec(c.req.header('range')?.trim() ?? '')
  const [, first = '', last = ''] = match ?? []
  if (first === '' && last === '') return undefined
  const from = first === '' ? Math.max(0, size - Number(last)) : Number(first)
  const to = first === '' || last === '' ? size : Math.min(size, Number(last) + 1)
  if (first !== '' && last !== '' && Number(last) < Number(first)) return undefined
  return from >= size ? 'unsatisfiable' : { from, to, status: 206 }
}

/** @param depth 1 for the directory itself alone; deeper ones come after it, each with where it is */
export async function listDirectory(place: Place, depth = 1): Promise<DirectoryListing> {
  const listing: DirectoryListing = { entries: [], omitted: 0 }
  await listInto(listing, place.path, Buffer.alloc(0), depth)
  return listing
}

async function listInto(listing: DirectoryListing, at: Buffer, prefix: Buffer, depth: number): Promise<void> {
  const directory = await openDirectory(at)
  try {
    const path = HAS_PROC ? descriptorPath(directory) : at
    const names = (await readdir(path, { encoding: 'buffer' })).sort(Buffer.compare)
    const room = MAX_ENTRIES - listing.entries.length
    listing.omitted += Math.max(0, names.length - room)
    const deeper: Buffer[] = []
    for (const name of names.slice(0, room)) {
      const entry = await entryOf(path, name)
      if (entry === undefined) continue
      listing.entries.push({ ...entry, ...(prefix.length > 0 && inOf(prefix)) })
      if (entry.type === 'directory' && depth > 1) deeper.push(name)
    }
    for (const name of deeper)
      await listInto(
        listing,
        joinBytes(path, name),
        prefix.length === 0 ? name : joinBytes(prefix, name),
        depth - 1,
      ).catch(unlessGone)
  } finally {
    await directory.close()
  }
}

const inOf = (prefix: Buffer) => ({
  in: prefix.toString('utf8'),
  ...(!isUtf8(prefix) && { inBase64: prefix.toString('base64') }),
})

function unlessGone(error: unknown): void {
  if (!hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES')) throw error
}

export async function statPlace({ parent, name, stats }: Place): Promise<FileStat> {
  if (stats === undefined) throw new RclaudeError('not_found', 'it is not there')
  const entry = name === undefined ? undefined : await entryOf(parent, name)
  const facts = entry ?? {
    name: '',
    type: typeOf(stats),
    size: Number(stats.size),
    mode: modeOf(stats),
    mtimeMs: Number(stats.mtimeMs),
  }
  return { ...facts, ...(stats.isFile() && { etag: etagOf(stats) }) }
}

/** Undefined when it vanished meanwhile. */
async function entryOf(directory: Buffer, name: Buffer): Promise<DirectoryEntry | undefined> {
  const path = joinBytes(directory, name)
  try {
    const stats = await lstat(path, { bigint: true })
    const type = typeOf(stats)
    return {
      name: name.toString('utf8'),
      ...(!isUtf8(name) && { nameBase64: name.toString('base64') }),
      type,
      size: Number(stats.size),
      mode: modeOf(stats),
      mtimeMs: Number(stats.mtimeMs),
      ...(type === 'symlink' && { target: await readlink(path) }),
    }
  } catch {
    return undefined
  }
}

/** @throws RclaudeError `unsupported` for what is neither a file nor a directory */
export function refuseSpecial(stats: BigIntStats): void {
  const type = typeOf(stats)
  if (type !== 'file' && type !== 'directory')
    throw new RclaudeError('unsupported', `it is a ${type}; only regular files and directories can be read and written`)
}
