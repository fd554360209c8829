/** Files of a workspace, as the agent's `/files` answers in JSON. The bytes of a file travel raw. */
import { z } from 'zod'

export const FILE_TYPES = ['file', 'directory', 'symlink', 'fifo', 'socket', 'device'] as const

export const DirectoryEntry = z.object({
  /** With replacement characters where the name is not UTF-8; `nameBase64` then has its bytes. */
  name: z.string(),
  /** In a recursive listing: the directory that it is in, relative to the listed one. */
  in: z.string().optional(),
  inBase64: z.string().optional(),
  nameBase64: z.string().optional(),
  type: z.enum(FILE_TYPES),
  size: z.number().int().nonnegative(),
  /** Permission bits, as a number. */
  mode: z.number().int(),
  mtimeMs: z.number(),
  /** Where a symlink points. */
  target: z.string().optional(),
})
export type DirectoryEntry = z.infer<typeof DirectoryEntry>

export const DirectoryListing = z.object({
  /** In the order of the names' bytes. */
  entries: z.array(DirectoryEntry),
  /** Entries left out because there are more than one listing may hold. */
  omitted: z.number().int().nonnegative(),
})
export type DirectoryListing = z.infer<typeof DirectoryListing>

/** The answer to a PUT. */
export const WrittenFile = z.object({ size: z.number().int().nonnegative(), mode: z.number().int(), etag: z.string() })
export type WrittenFile = z.infer<typeof WrittenFile>

/** One path's facts, and a file's ETag: `GET ?stat=1`. A symlink is not followed. */
export const FileStat = DirectoryEntry.extend({ etag: z.string().optional() })
export type FileStat = z.infer<typeof FileStat>

/** The body of a POST. */
export const FileOperation = z.discriminatedUnion('op', [
  z.strictObject({
    op: z.literal('move'),
    /** Relative to the workspace; `toBase64` where it is not UTF-8. */
    to: z.string().optional(),
    toBase64: z.base64().optional(),
    overwrite: z.boolean().default(false),
  }),
  /** With `parents` one that is there already will do. */
  z.strictObject({ op: z.literal('mkdir'), parents: z.boolean().default(false) }),
  z.strictObject({ op: z.literal('symlink'), target: z.string().min(1).max(4_095) }),
])
export type FileOperation = z.infer<typeof FileOperation>

/** The answer to a POST of a tar. */
export const UnpackedTree = z.object({ files: z.number(), directories: z.number(), symlinks: z.number() })
export type UnpackedTree = z.infer<typeof UnpackedTree>

/** A client's name for an upload that it may have to go on with. */
export const UploadId = z.string().regex(/^[A-Za-z0-9_-]{16,64}$/, 'expected 16 to 64 letters, digits, - and _')
/** The answer while an upload is not whole: 202 to a PUT, and 200 to `GET ?upload=ID`. */
export const UploadProgress = z.object({ received: z.number().int().nonnegative() })
export type UploadProgress = z.infer<typeof UploadProgress>

/** Unfinished uploads of a task. */
export const MAX_UPLOADS = 64
/** How long an unfinished one is kept. */
export const UPLOAD_KEPT_SECONDS = 86_400
