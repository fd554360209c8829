/** Files that are the user's own. */
import { realpath, rename, stat, writeFile } from 'node:fs/promises'

/**
 * Whole or not at all, with the mode that it has; a link, as people who keep their files in a repository have it, stays one.
 * @param before called with the file's real path when there is one
 */
export async function replaceFile(
  named: string,
  text: string,
  before?: (file: string) => Promise<void>,
): Promise<void> {
  const file = await realpath(named).catch(() => named)
  const mode = await stat(file).then(
    (found) => found.mode & 0o777,
    () => undefined,
  )
  if (mode !== undefined) await before?.(file)
  const draft = `${file}.${process.pid}.new`
  await writeFile(draft, text, { mode: mode ?? 0o600, flag: 'wx' })
  await rename(draft, file)
}
