/** Files of a workspace, as the agent's `/files` answers in JSON. The bytes of a file travel raw. */
import { z } from 'zod'

export const FILE_TYPES = ['file', 'directory', 'symlink', 'fifo', 'socket', 'device'] as const

export const DirectoryEntry = z.object({
  /** With replacement characters where the name is not UTF-8; `nameBase64` then has its bytes. */
  name: z.string(),
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
