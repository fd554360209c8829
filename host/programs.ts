/** Where programs of this machine lie, as a shell would find them; and how a shell reads a word. */
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { delimiter, join } from 'node:path'

/** Daemons lie outside of most users' PATH. */
export const SYSTEM_FOLDERS: readonly string[] = ['/usr/local/sbin', '/usr/sbin', '/sbin']

/** The folders of a PATH. */
export const foldersOf = (path: string | undefined): string[] => (path ?? '').split(delimiter).filter(Boolean)

/** By us. A folder passes for executable as well. */
export const isExecutable = (path: string): Promise<boolean> =>
  access(path, constants.X_OK).then(
    () => true,
    () => false,
  )

/** The first of the folders' programs of that name; a name with a slash is a path already. */
export async function findProgram(program: string, folders: readonly string[]): Promise<string | undefined> {
  const places = program.includes('/') ? [program] : folders.map((folder) => join(folder, program))
  for (const place of places) if (await isExecutable(place)) return place
  return undefined
}

/** One word for a POSIX shell, quoted where it must be. */
export const shellQuoted = (text: string): string =>
  /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
