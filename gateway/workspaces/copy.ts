/**
 * Copies a bare repository that is in use. Refs and small files first, objects last: what a ref names was there before
 * it. Packs vanish only when a repository is sealed, and then their objects are in another one: the copy begins again.
 */
import { cp, mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { borrowsFrom, checkConnected, makeSelfContained, readRefs, stopBorrowing } from './repository.ts'

const ATTEMPTS = 5

/** A repository that is deleted meanwhile leaves nothing. */
export async function copyRepository(from: string, to: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await copyOnce(from, to)
    } catch (error) {
      await rm(to, { recursive: true, force: true })
      if ((await readdir(from).catch(() => undefined)) === undefined) return
      if (attempt === ATTEMPTS) throw error
    }
  }
}

async function copyOnce(from: string, to: string): Promise<void> {
  await mkdir(to, { mode: 0o700 })
  const names = (await readdir(from)).filter((name) => name !== 'objects')
  for (const name of [...names, 'objects'])
    await cp(join(from, name), join(to, name), {
      recursive: true,
      // A push that goes on, or was cut off.
      filter: (path) => !/\.lock$|\/(tmp_|incoming-)/.test(path.slice(from.length)),
    })
  if ((await borrowsFrom(to)) === undefined) return await checkConnected(to)
  // Elsewhere there will be no cache to borrow from.
  if ((await readRefs(to)).size === 0) await stopBorrowing(to)
  else await makeSelfContained(to)
}
