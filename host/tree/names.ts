/**
 * Names and paths of a tree as one character per byte ('latin1'): names need not be UTF-8, and such strings sort, compare
 * and serve as keys as the bytes do. Which of them may be written at all is said here, for a tree may come from anybody.
 */
import { isUtf8 } from 'node:buffer'

export type BytePath = string

const MAX_PATH = 4_096
const MAX_NAME = 255
const ASCII = /^[\x00-\x7f]*$/
/** HFS+ leaves these out when it compares names (git's CVE-2014-9390). */
const INVISIBLE = /[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g
/** Temporary files of ours: a killed program may leave one. */
const OURS = /(^|\/)\.rclaude-(sync|upload)-[^/]*$/
/** Just those that we make: what only begins like them is never deleted. */
const TEMPORARY = /(^|\/)\.rclaude-(sync-[0-9a-f]{16}-\d+|upload-[0-9a-f]{16})$/
/** What has arrived of a copy that was cut; the next one goes on with it. */
const PART = /(^|\/)\.[^/]*\.[0-9a-f]{16}\.rclaude-part$/
/** Copies that a conflict left for its user; they stay where they are. */
const CONFLICT_COPY = /\.conflict-(local|remote)-\d{8}T\d{6}(-\d+)?$/

export const toBytes = (path: BytePath): Buffer => Buffer.from(path, 'latin1')
export const toText = (path: BytePath): string => (ASCII.test(path) ? path : toBytes(path).toString('utf8'))
export const fromText = (text: string): BytePath => (ASCII.test(text) ? text : Buffer.from(text).toString('latin1'))

/** In JSON: text, or base64 where the bytes are no UTF-8. */
export function toWire(path: BytePath): string | { base64: string } {
  if (ASCII.test(path)) return path
  const bytes = toBytes(path)
  return isUtf8(bytes) ? bytes.toString('utf8') : { base64: bytes.toString('base64') }
}
export const fromWire = (path: string | { base64: string }): BytePath =>
  typeof path === 'string' ? fromText(path) : Buffer.from(path.base64, 'base64').toString('latin1')

/** What Node's calls take: a string where that is the same, for it is quicker. */
export const forCall = (path: BytePath): string | Buffer => (ASCII.test(path) ? path : toBytes(path))

export const isOwnName = (path: BytePath): boolean => OURS.test(path) || PART.test(path) || CONFLICT_COPY.test(path)
export const isTemporary = (path: BytePath): boolean => TEMPORARY.test(path)

/** Nothing in such a path can be refused or be a name of ours. */
const PLAIN = /^(?:[\w+@,-][\w+@,.-]*\/)*[\w+@,-][\w+@,.-]*$/
const MAX_PLAIN = 200

/** True for a path that takes part: no name of ours, and none that is refused. It is asked for every file. */
export function isOrdinary(path: BytePath): boolean {
  if (path.length < MAX_PLAIN && !path.includes('.conflict-') && PLAIN.test(path)) return true
  return !isOwnName(path) && refusedPath(path) === undefined
}

/** Why a path may not be part of a tree; undefined when it may. */
export function refusedPath(path: BytePath): string | undefined {
  if (path === '' || path.startsWith('/') || path.length > MAX_PATH || path.includes('\0')) return 'it is no path'
  for (const name of path.split('/')) {
    if (name === '' || name === '.' || name === '..') return 'it leads elsewhere'
    if (name.length > MAX_NAME) return 'a name in it is too long'
    if (isGitDirectory(name)) return 'git directories never travel'
  }
  return undefined
}

function isGitDirectory(name: string): boolean {
  if (/^\.git[. ]*$/i.test(name) || /^git~\d$/i.test(name)) return true
  return !ASCII.test(name) && /^\.git$/i.test(toText(name).replace(INVISIBLE, ''))
}

/**
 * True when a link at `path` can lead nowhere but into the tree, whatever other links are in it: it climbs first, not above
 * the root, and never again after it went down, since it could then go up from where another link led.
 */
export function staysInside(path: BytePath, target: BytePath): boolean {
  if (target === '' || target.startsWith('/') || target.includes('\0')) return false
  let depth = path.split('/').length - 1
  let hasDescended = false
  for (const name of target.split('/')) {
    if (name === '' || name === '.') continue
    if (name !== '..') hasDescended = true
    else if (hasDescended || --depth < 0) return false
  }
  return true
}

export const parentOf = (path: BytePath): BytePath => path.slice(0, Math.max(0, path.lastIndexOf('/')))
export const nameOf = (path: BytePath): BytePath => path.slice(path.lastIndexOf('/') + 1)
export const joined = (folder: BytePath, name: BytePath): BytePath => (folder === '' ? name : `${folder}/${name}`)
