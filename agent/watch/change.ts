/** A change as it is told. */
import { isUtf8 } from 'node:buffer'
import type { FileChange } from '../../protocol/watch.ts'
import { etagOf } from '../files/stats.ts'
import type { Entry } from './entry.ts'

/** @param path with names as latin1 text, and so is `from` */
export function change(kind: FileChange['kind'], path: string, entry: Entry, from?: string): FileChange {
  const etag = kind !== 'deleted' && entry.type === 'file' ? { etag: etagOf(entry) } : {}
  const { text, base64 } = shown(path)
  const old = from === undefined ? undefined : shown(from)
  return {
    kind,
    path: text,
    ...(base64 !== undefined && { pathBase64: base64 }),
    ...(old !== undefined && { from: old.text }),
    ...(old?.base64 !== undefined && { fromBase64: old.base64 }),
    type: entry.type,
    ...etag,
  }
}

function shown(path: string): { text: string; base64?: string } {
  const bytes = Buffer.from(path, 'latin1')
  return { text: bytes.toString('utf8'), ...(!isUtf8(bytes) && { base64: bytes.toString('base64') }) }
}
