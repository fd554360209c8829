/**
 * A tar archive as one commit, without a file on disk: entries stream into `git fast-import`. Names are bytes; modes and
 * symbolic links are kept; what could lead out of the folder, or is no file, refuses the archive as a whole.
 */
import { once } from 'node:events'
import { PassThrough, type Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { extract, type Header } from 'tar-stream'
import { RclaudeError } from '../../protocol/errors.ts'
import { formatBytes } from '../../protocol/units.ts'
import { gitFailure, startGit } from './git.ts'

/** `filenameEncoding` is documented by tar-stream, its types forgot it. */
const NAMES_AS_BYTES = { filenameEncoding: 'latin1', highWaterMark: 64 * 1024 }

export interface TarOptions {
  repository: string
  ref: string
  maxBytes: number
  maxEntries: number
  now: () => Date
  signal?: AbortSignal | undefined
}

/** @throws {RclaudeError} `invalid` or `too_large`; the repository's refs are then as before */
export async function importTar(tar: Readable, options: TarOptions): Promise<void> {
  const running = startGit(['fast-import', '--quiet', '--done', '--date-format=raw'], {
    repository: options.repository,
    signal: options.signal,
  })
  const entries = extract(NAMES_AS_BYTES)
  const { stdin } = running.child
  stdin.once('close', () => entries.destroy()) // git ended early: stop reading, its exit code says why
  try {
    const feeding = pipeline(await maybeGunzip(tar), entries)
    const [fed, read] = await Promise.allSettled([feeding, writeEntries(entries, stdin, options)])
    if (read.status === 'rejected') throw read.reason
    if (fed.status === 'rejected') throw fed.reason
    stdin.end()
    const code = await running.exited
    if (code !== 0) throw gitFailure('fast-import', code, running.stderr())
  } catch (error) {
    const broken = tar.errored // before we destroy it
    const gitEnded = stdin.destroyed
    tar.destroy()
    running.kill()
    const code = await running.exited.catch(() => 0)
    options.signal?.throwIfAborted()
    if (error instanceof RclaudeError) throw error
    if (gitEnded && code !== 0) throw gitFailure('fast-import', code, running.stderr())
    if (broken !== null) throw broken
    throw new RclaudeError('invalid', `the archive cannot be read as tar: ${String(error)}`, { cause: error })
  }
}

interface FileChange {
  mode: '100644' | '100755' | '120000'
  mark: number
}

async function writeEntries(entries: ReturnType<typeof extract>, to: Writable, options: TarOptions): Promise<void> {
  const files = new Map<string, FileChange>()
  let bytes = 0
  let mark = 0
  let count = 0
  for await (const entry of entries) {
    if (++count > options.maxEntries)
      throw new RclaudeError(
        'too_large',
        `the archive has more than ${options.maxEntries} entries (limits.workspaceFiles): leave out what the task does not need`,
      )
    const { header } = entry
    const path = pathOf(nameBytes(header, 'name'))
    bytes += header.size ?? 0
    if (bytes > options.maxBytes)
      throw new RclaudeError(
        'too_large',
        `the archive holds more than ${formatBytes(options.maxBytes)} (limits.workspace): leave out what the task does not need`,
      )
    const type = header.type ?? 'file'
    if (type === 'file' || type === 'contiguous-file') {
      await write(to, `blob\nmark :${++mark}\ndata ${header.size ?? 0}\n`)
      for await (const chunk of entry) await write(to, chunk as Buffer)
      await write(to, '\n')
      files.set(path, { mode: ((header.mode ?? 0) & 0o100) !== 0 ? '100755' : '100644', mark })
    } else if (type === 'symlink') {
      const target = Buffer.from(nameBytes(header, 'linkname'), 'latin1')
      await write(to, `blob\nmark :${++mark}\ndata ${target.length}\n`)
      await write(to, Buffer.concat([target, Buffer.from('\n')]))
      files.set(path, { mode: '120000', mark })
    } else if (type === 'link') {
      const target = files.get(pathOf(nameBytes(header, 'linkname')))
      if (target === undefined) throw refused(path, 'is a hard link to something that is not in the archive before it')
      files.set(path, target)
    } else if (type !== 'directory') throw refused(path, `is a ${type}; only files, directories and links are taken`)
    entry.resume()
  }
  await writeCommit(files, to, options)
}

async function writeCommit(files: ReadonlyMap<string, FileChange>, to: Writable, options: TarOptions): Promise<void> {
  const message = 'Uploaded workspace'
  const seconds = Math.floor(options.now().getTime() / 1_000)
  await write(
    to,
    `commit ${options.ref}\ncommitter rclaude <rclaude@localhost> ${seconds} +0000\ndata ${message.length}\n${message}\n`,
  )
  await write(to, 'deleteall\n')
  for (const [path, { mode, mark }] of files)
    await write(to, Buffer.from(`M ${mode} :${mark} ${quoted(path)}\n`, 'latin1'))
  await write(to, 'done\n')
}

async function write(to: Writable, data: string | Buffer): Promise<void> {
  if (to.destroyed) throw new Error('git fast-import ended early')
  if (!to.write(data)) await Promise.race([once(to, 'drain'), once(to, 'close')])
}

/** Header names come as latin1, one character per byte; those of pax records, always UTF-8, as text. */
function nameBytes(header: Header, field: 'name' | 'linkname'): string {
  const value = header[field] ?? ''
  const { pax } = header
  const fromPax = typeof pax === 'object' && pax !== null && (field === 'name' ? 'path' : 'linkpath') in pax
  if (!fromPax) return value
  const bytes = Buffer.from(value).toString('latin1')
  if (value.includes('\ufffd'))
    throw refused(bytes, 'has a name that is no UTF-8, which pax cannot carry; make it with tar --format=gnu')
  return bytes
}

function pathOf(name: string): string {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.')
  if (name.startsWith('/')) throw refused(name, 'is an absolute path')
  if (parts.includes('..')) throw refused(name, 'leads out of the folder')
  if (parts.some((part) => /^\.git[ .]*$|^git~1$/i.test(part)))
    throw refused(name, 'lies in a .git directory; upload a git bundle to send history')
  return parts.join('/')
}

const refused = (path: string, why: string) =>
  new RclaudeError(
    'invalid',
    `the archive is refused: ${JSON.stringify(Buffer.from(path, 'latin1').toString())} ${why}`,
  )

/** As fast-import reads a path: quoted like a C string, bytes beyond ASCII as they are. */
const quoted = (path: string): string =>
  `"${path.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`

/** Looks at the first two bytes, whatever the content type said. */
async function maybeGunzip(stream: Readable): Promise<Readable> {
  const out = new PassThrough()
  const iterator = stream[Symbol.asyncIterator]()
  let start = Buffer.alloc(0)
  while (start.length < 2) {
    const next: IteratorResult<unknown> = await iterator.next()
    if (next.done === true) break
    start = Buffer.concat([start, next.value as Buffer])
  }
  const rest = async function* () {
    yield start
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) yield next.value as Buffer
  }
  const zipped = start[0] === 0x1f && start[1] === 0x8b
  const done = zipped ? pipeline(rest, createGunzip(), out) : pipeline(rest, out)
  done.catch((error: unknown) => out.destroy(error instanceof Error ? error : new Error(String(error))))
  return out
}
