/**
 * The program as V8 has compiled it, kept from one command to the next: reading that takes a fraction of compiling a megabyte
 * anew (docs/decisions/015). Functions are compiled when they are first called, so each command adds its own, once.
 *
 * A file of the cache is what V8 gave, then a trailer in JSON, then the trailer's length. V8 itself tells other versions and
 * flags, but not a damaged file, which would crash it: hence the checksum. Whatever goes wrong here costs time and nothing else.
 */
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { Script } from 'node:vm'
import { crc32 } from 'node:zlib'

/** Of another release, or of another Node. */
const FORGET_AFTER_MS = 30 * 24 * 3_600_000
const LENGTH_BYTES = 4

interface Kept {
  code: Buffer
  /** Commands whose functions are in it. */
  commands: readonly string[]
}

export interface LoadedProgram {
  exports: unknown
  /** Called when `command` has done its work. */
  keep(command: string): void
}

/** @param file a script whose value is a function of `exports` and `require`, in ASCII, so that V8 keeps a byte for a letter */
export function loadProgram(file: string, directory: string): LoadedProgram {
  const source = readFileSync(file, 'latin1')
  const cache = join(directory, `code-${process.version}-${process.arch}-${crc32(source).toString(16)}`)
  const kept = read(cache)
  const script = new Script(source, { filename: file, ...(kept && { cachedData: kept.code }) })
  const commands = script.cachedDataRejected === true ? [] : (kept?.commands ?? [])
  const module = { exports: {} }
  script.runInThisContext()(module.exports, createRequire(file), module)
  return {
    exports: module.exports,
    keep(command) {
      if (!commands.includes(command))
        write(cache, { code: script.createCachedData(), commands: [...commands, command] })
    },
  }
}

/** Undefined when there is none that is whole and that nobody else can have written. */
function read(file: string): Kept | undefined {
  let descriptor: number | undefined
  try {
    descriptor = openSync(file, 'r')
    const { uid, mode } = fstatSync(descriptor)
    if (uid !== process.getuid?.() || (mode & 0o022) !== 0) return undefined
    const bytes = readFileSync(descriptor)
    const end = bytes.length - LENGTH_BYTES
    const begin = end - bytes.readUInt32LE(end)
    const { checksum, commands } = JSON.parse(bytes.toString('utf8', begin, end))
    const code = bytes.subarray(0, begin)
    return crc32(code) === checksum ? { code, commands } : undefined
  } catch {
    return undefined
  } finally {
    if (descriptor !== undefined) closeSync(descriptor)
  }
}

function write(file: string, { code, commands }: Kept): void {
  const draft = `${file}.${process.pid}.new`
  try {
    const directory = join(file, '..')
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const trailer = Buffer.from(JSON.stringify({ checksum: crc32(code), commands }))
    const length = Buffer.alloc(LENGTH_BYTES)
    length.writeUInt32LE(trailer.length)
    writeFileSync(draft, Buffer.concat([code, trailer, length]), { mode: 0o600, flag: 'wx' })
    renameSync(draft, file)
    forgetOld(directory)
  } catch {
    try {
      unlinkSync(draft)
    } catch {} // it was never made
  }
}

function forgetOld(directory: string): void {
  for (const name of readdirSync(directory)) {
    const file = join(directory, name)
    if (name.startsWith('code-') && Date.now() - statSync(file).mtimeMs > FORGET_AFTER_MS) rmSync(file, { force: true })
  }
}
