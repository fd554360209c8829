/**
 * What `GET /v1/tasks/T/files/DIR?watch=1` sends, as server-sent events:
 *
 *   event: ready      from here on every change is told; list the directory after this, not before
 *   event: change     `FileChanges`, coalesced; to be applied in their order
 *   event: overflow   `WatchOverflow`: some changes are unknown; list the directory again, then go on reading
 *   event: end        `WatchEnd`: the directory is gone, or cannot be watched any longer
 *
 * Each has an id. A client that lost its connection sends the last one as `Last-Event-ID` and gets what it missed, as
 * long as that is still held, and an `overflow` otherwise.
 */
import { z } from 'zod'
import { FILE_TYPES } from './file.ts'

/** Not watched unless `ignore` says otherwise: patterns as in a .gitignore; an empty `ignore=` is none. */
export const DEFAULT_IGNORE = ['.git', 'node_modules'] as const

/** Files and directories that one watch may cover. */
export const MAX_WATCHED_ENTRIES = 200_000
/** Directories of one task that are watched at once, with different `ignore` counted apart. Clients share them. */
export const MAX_WATCHES = 16
/** Changes that are held for clients that come back, or read slowly, as bytes of their JSON. */
export const WATCH_HELD_BYTES = 4 * 1024 * 1024
/** Changes in one event; more go into several. */
export const MAX_CHANGES_PER_EVENT = 1_000

export const FileChange = z.object({
  /** Of a directory: `deleted` and `renamed` speak of all that is in it; what a new one holds is told as created too. */
  kind: z.enum(['created', 'modified', 'deleted', 'renamed']),
  /** Relative to the watched directory. With replacement characters where it is not UTF-8; `pathBase64` then has its bytes. */
  path: z.string(),
  pathBase64: z.string().optional(),
  /** Of `renamed`: where it was. What was at `path` before is gone. */
  from: z.string().optional(),
  fromBase64: z.string().optional(),
  type: z.enum(FILE_TYPES),
  /** Of a file, as GET gives it: what a reader holds with the same one needs not be fetched. */
  etag: z.string().optional(),
})
export type FileChange = z.infer<typeof FileChange>

export const FileChanges = z.object({ changes: z.array(FileChange) })
export type FileChanges = z.infer<typeof FileChanges>

export const WatchReady = z.object({ ignore: z.array(z.string()) })
export type WatchReady = z.infer<typeof WatchReady>

export const WatchOverflow = z.object({
  /**
   * `gap`: what came after Last-Event-ID is not held any more, or the client read too slowly. `queue`: more changes at once
   * than the kernel keeps. `watches`: the kernel's limit of watches; what is beyond it is looked at now and then.
   */
  reason: z.enum(['gap', 'queue', 'watches']),
  message: z.string(),
})
export type WatchOverflow = z.infer<typeof WatchOverflow>

export const WatchEnd = z.object({ message: z.string() })
export type WatchEnd = z.infer<typeof WatchEnd>
