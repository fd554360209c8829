/**
 * Keeping a folder here and a folder of a task's workspace the same (`/sync/...`). A client asks for the manifest of the far
 * folder, compares it with its own and with what both were the last time, and then sends and fetches what differs, each as one
 * stream: a line of JSON for every file, followed by its bytes. Whatever is written says what it expects to replace, so
 * that nothing is lost when the other side moved on, and so that a transfer that was cut can be begun again.
 */
import { z } from 'zod'

/**
 * A path, as one character per byte inside the programs; as text in JSON, or as base64 where its bytes are no UTF-8. The far
 * end says why it refuses one that leads elsewhere.
 */
export const WirePath = z.union([z.string(), z.object({ base64: z.base64() })])
export type WirePath = z.infer<typeof WirePath>

/** What a file or a link holds: the SHA-256 of its bytes, or the target in base64. */
export const ContentId = z
  .string()
  .regex(/^(sha256:[0-9a-f]{64}|link:[A-Za-z0-9+/]*={0,2})$/, 'expected sha256:HEX or link:BASE64')

const Mode = z.number().int().min(0).max(0o777)

/** Most files of one `apply` or `fetch`. */
export const MAX_SYNC_FILES = 20_000
/** Longest JSON body of `manifest` and `fetch`. */
export const MAX_SYNC_BODY = 8 * 1024 ** 2
export const MAX_PATTERNS = 1_000
/** The gateway waits a minute for the head of an answer. */
export const MAX_SYNC_WAIT_SECONDS = 45

const Patterns = z.array(z.string().max(1_000)).max(MAX_PATTERNS).default([])

export const SyncManifestRequest = z.object({
  /** Folder of the workspace; empty for the whole. */
  folder: WirePath.default(''),
  /** Leave out what git ignores. */
  ignore: z.boolean().default(true),
  exclude: Patterns,
  include: Patterns,
  /** Digest of the manifest that the client has: when it is still true, the entries are left out. */
  known: z.string().optional(),
  /** Wait so long for it to become untrue, for those who watch: each request leaves a row in the audit log. */
  waitSeconds: z.number().min(0).max(MAX_SYNC_WAIT_SECONDS).default(0),
  /** Only these, whatever is ignored. */
  paths: z.array(WirePath).optional(),
})
export type SyncManifestRequest = z.input<typeof SyncManifestRequest>

/** The first line of a manifest. */
export const SyncManifestHead = z.object({
  /** SHA-256 over `PATH NUL ID NUL MODE LF` of all entries, sorted by the bytes of their paths, MODE in decimal. */
  digest: z.string(),
  entries: z.number().int().nonnegative(),
  /** The digest is the one that the client knows: no entries follow. */
  unchanged: z.boolean(),
  /** False when there is no such folder. */
  exists: z.boolean(),
  /** What is there and cannot travel: fifos, devices, links that lead out of the folder. The first thousand. */
  skipped: z.array(z.object({ path: WirePath, why: z.string() })),
})
export type SyncManifestHead = z.infer<typeof SyncManifestHead>

/** One line each, sorted by the bytes of their paths. */
export const SyncEntry = z.object({ path: WirePath, id: ContentId, mode: Mode, size: z.number().int().nonnegative() })
export type SyncEntry = z.infer<typeof SyncEntry>

/** First line of an `apply`. */
export const SyncApplyHead = z.object({ folder: WirePath.default('') })

/** Null expects that nothing is there. */
const Expect = ContentId.nullable()

/** A line of an `apply`. `size` bytes follow a `put` of a file; a link has none. The last line is `end`. */
export const SyncOperation = z.discriminatedUnion('op', [
  z.object({
    op: z.literal('put'),
    path: WirePath,
    id: ContentId,
    size: z.number().int().nonnegative(),
    mode: Mode,
    mtimeMs: z.number(),
    expect: Expect,
  }),
  z.object({ op: z.literal('mode'), path: WirePath, mode: Mode, expect: ContentId }),
  z.object({ op: z.literal('delete'), path: WirePath, expect: ContentId }),
  z.object({ op: z.literal('end') }),
])
export type SyncOperation = z.infer<typeof SyncOperation>

/** A line of the answer, one for each operation, in their order. `same`: it was so already. `conflict`: left alone. */
export const SyncResult = z.object({
  done: z.enum(['applied', 'same', 'conflict', 'error']),
  /** Of an error: `disk_full`, `forbidden`, `invalid`, `changed`, `internal`. */
  code: z.string().optional(),
  message: z.string().optional(),
})
export type SyncResult = z.infer<typeof SyncResult>

/** The last line: without it the answer was cut. */
export const SyncEnd = z.object({ end: z.literal(true) })
export const SyncAnswer = z.union([SyncResult, SyncEnd])

export const SyncFetchRequest = z.object({
  folder: WirePath.default(''),
  paths: z.array(WirePath).max(MAX_SYNC_FILES),
})
export type SyncFetchRequest = z.input<typeof SyncFetchRequest>

/** A line of a `fetch`'s answer, for each path in the order asked for. `size` bytes follow one of a file; the last line is `end`. */
export const SyncFetched = z.union([
  z.object({ id: ContentId, size: z.number().int().nonnegative(), mode: Mode, mtimeMs: z.number() }),
  z.object({ missing: z.string() }),
  SyncEnd,
])
export type SyncFetched = z.infer<typeof SyncFetched>
