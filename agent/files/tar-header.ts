/**
 * The header of one entry of a tar archive, in the oldest form that says it: ustar (POSIX.1-1988) for plain names; pax records
 * (POSIX.1-2001) for names that are UTF-8, so that readers with another character set get them right; GNU's long names for
 * those that are not, since pax has no form for such bytes that GNU tar, bsdtar and Python read alike.
 */
import { isAscii, isUtf8 } from 'node:buffer'

export interface TarEntry {
  type: 'file' | 'directory' | 'symlink'
  /** Relative, with slashes; a directory's ends with one. */
  name: Buffer
  /** Permission bits. */
  mode: number
  mtime: Date
  /** Bytes that follow, of a file. */
  size?: number
  /** Where a symlink leads. */
  target?: Buffer
}

export const TAR_BLOCK_BYTES = 512
/** Two empty blocks. */
export const TAR_END = Buffer.alloc(2 * TAR_BLOCK_BYTES)

const TYPE_FLAGS = { file: '0', symlink: '2', directory: '5', longTarget: 'K', longName: 'L', pax: 'x' }
const USTAR = { magic: 'ustar\u000000', hasPrefix: true }
const GNU = { magic: 'ustar  \0', hasPrefix: false }
/** Of the fields for a name, a link's target and the directories in front of a name. */
const NAME_BYTES = 100
const PREFIX_BYTES = 155
/** The largest that fits the eleven octal digits of a size. */
const MAX_OCTAL_SIZE = 0o77777777777

export function tarHeader(entry: TarEntry): Buffer {
  const { name, target = Buffer.alloc(0) } = entry
  if (!isUtf8(name) || !isUtf8(target)) return gnuHeader(entry, name, target)
  const place = isAscii(name) ? ustarPlace(name) : undefined
  const fits = isAscii(target) && target.length <= NAME_BYTES
  if (place !== undefined && fits) return block(USTAR, { ...entry, ...place, target })
  const records = [
    ...(place === undefined ? [paxRecord('path', name)] : []),
    ...(fits ? [] : [paxRecord('linkpath', target)]),
  ]
  return Buffer.concat([
    ...extension('pax', USTAR, 'PaxHeader', Buffer.concat(records)),
    block(USTAR, { ...entry, ...(place ?? { name: name.subarray(0, NAME_BYTES) }), target }),
  ])
}

/**
 * In place of TAR_END, of an archive that lacks something: records are announced that do not come, so that every reader has
 * unpacked all before them and fails then, by "unexpected end" or the like.
 */
export const tarBreak = (): Buffer =>
  block(USTAR, {
    type: 'pax',
    name: Buffer.from('left-out'),
    mode: 0,
    mtime: new Date(0),
    size: 512,
    target: TAR_END.subarray(0, 0),
  })

/** Zeros that fill the last block of `size` bytes. */
export const tarPadding = (size: number): Buffer =>
  TAR_END.subarray(0, (TAR_BLOCK_BYTES - (size % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES)

function gnuHeader(entry: TarEntry, name: Buffer, target: Buffer): Buffer {
  const long = (flag: 'longName' | 'longTarget', bytes: Buffer) =>
    bytes.length > NAME_BYTES
      ? extension(flag, GNU, '././@LongLink', Buffer.concat([bytes, Buffer.alloc(1)])) // NUL-terminated
      : []
  return Buffer.concat([
    ...long('longTarget', target),
    ...long('longName', name),
    block(GNU, { ...entry, name: name.subarray(0, NAME_BYTES), target }),
  ])
}

/** An entry of its own that tells more of the one behind it. */
function extension(type: 'pax' | 'longName' | 'longTarget', format: typeof USTAR, name: string, content: Buffer) {
  const header = block(format, {
    type,
    name: Buffer.from(name),
    mode: 0o644,
    mtime: new Date(0),
    size: content.length,
    target: Buffer.alloc(0),
  })
  return [header, content, tarPadding(content.length)]
}

/** `LENGTH KEY=VALUE\n`, where LENGTH counts its own digits. */
function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')])
  let length = rest.length
  while (length !== rest.length + `${length}`.length) length = rest.length + `${length}`.length
  return Buffer.concat([Buffer.from(`${length}`), rest])
}

/** Cut at a slash when it is too long for its field; undefined when no slash is at a fitting place. */
function ustarPlace(name: Buffer): { name: Buffer; prefix?: Buffer } | undefined {
  if (name.length <= NAME_BYTES) return { name }
  const slash = name.indexOf('/', name.length - NAME_BYTES - 1)
  if (slash <= 0 || slash > PREFIX_BYTES || slash === name.length - 1) return undefined
  return { name: name.subarray(slash + 1), prefix: name.subarray(0, slash) }
}

interface Fields extends Omit<TarEntry, 'type'> {
  type: keyof typeof TYPE_FLAGS
  target: Buffer
  prefix?: Buffer
}

/** As `struct posix_header` of tar(5). */
function block(format: typeof USTAR, { type, name, mode, mtime, size = 0, target, prefix }: Fields): Buffer {
  const bytes = Buffer.alloc(TAR_BLOCK_BYTES)
  const octal = (value: number, at: number, digits: number) =>
    bytes.write(`${value.toString(8).padStart(digits, '0')}\0`, at, 'latin1')
  name.copy(bytes, 0)
  octal(mode & 0o7777, 100, 7)
  octal(0, 108, 7) // owner and group are the reader's own
  octal(0, 116, 7)
  if (size <= MAX_OCTAL_SIZE) octal(size, 124, 11)
  else writeBinarySize(bytes, size)
  octal(Math.max(0, Math.floor(mtime.getTime() / 1_000)), 136, 11)
  bytes.fill(' ', 148, 156) // counts as spaces in its own sum
  bytes.write(TYPE_FLAGS[type], 156, 'latin1')
  target.copy(bytes, 157, 0, NAME_BYTES)
  bytes.write(format.magic, 257, 'latin1')
  if (format.hasPrefix) prefix?.copy(bytes, 345)
  const sum = bytes.reduce((all, byte) => all + byte, 0)
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return bytes
}

/** GNU's way for 8 GiB and more, which the others read as well: a set first bit, then the number in big-endian bytes. */
function writeBinarySize(bytes: Buffer, size: number): void {
  bytes[124] = 0x80
  bytes.writeBigUInt64BE(BigInt(size), 128)
}
