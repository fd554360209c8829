/**
 * What a task's snapshot consists of besides one tree (docs/decisions/010): submodules, and files that git-lfs keeps. The
 * tree holds the files of both in place. What they were otherwise stands in one commit, `REFS.parts`, which is the snapshot's
 * last parent: its parents are a commit of each submodule and the commits of large files, its tree holds `parts.json`.
 */
import { z } from 'zod'

/** Repositories below one superproject. Each costs a few git commands at every save. */
export const MAX_SUBMODULES = 500
export const PARTS_FILE = 'parts.json'

const ObjectId = z.string().regex(/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/)

/** Below the superproject's folder; never in a git directory. */
export const SubmodulePath = z
  .string()
  .min(1)
  .max(4_096)
  .refine(
    (path) => path.split('/').every((part) => part !== '' && !/^\.{1,2}$|^\.git[ .]*$|^git~1$/i.test(part)),
    'is no plain path',
  )
  .refine((path) => !/\p{Cc}/u.test(path), 'holds a control character')

export const Submodule = z.object({
  path: SubmodulePath,
  /** Its working tree, on top of `head`; the same as `head` when nothing differs. */
  snapshot: ObjectId,
  /** The commit that it has checked out. */
  head: ObjectId,
  /** The commit that its superproject names. */
  link: ObjectId,
})
export type Submodule = z.infer<typeof Submodule>

export const Parts = z.object({
  version: z.literal(1),
  /** The user's HEAD. */
  base: ObjectId.optional(),
  /** Sorted by path, so that a repository comes before those inside it. */
  submodules: z
    .array(Submodule)
    .max(MAX_SUBMODULES)
    .refine(
      (all) => all.every(({ path }, at) => at === 0 || (all[at - 1]?.path ?? '') < path),
      'is not sorted by path, or names one twice',
    ),
  /** Commits that hold the content of git-lfs files by content, so that the next task of the project need not send it again. */
  large: z.array(ObjectId).max(16),
})
export type Parts = z.infer<typeof Parts>

/** @throws when it is none */
export const readParts = (json: string): Parts => Parts.parse(JSON.parse(json))

/** The submodule that a path of the combined tree lies in, `''` for the superproject. */
export function repositoryOf(path: string, submodules: readonly { path: string }[]): string {
  let found = ''
  for (const other of submodules)
    if (other.path.length > found.length && path.startsWith(`${other.path}/`)) found = other.path
  return found
}

/** Those that lie directly in the repository at `parent` (`''` for the superproject). */
export const directlyIn = <T extends { path: string }>(parent: string, submodules: readonly T[]): T[] =>
  submodules.filter(({ path }) => repositoryOf(path, submodules) === parent)

/** As the repository at `parent` names it. */
export const pathWithin = (parent: string, path: string): string =>
  parent === '' ? path : path.slice(parent.length + 1)
