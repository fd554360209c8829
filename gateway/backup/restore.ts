/**
 * A data folder made from a backup. Nothing is touched before all of the backup was read, checked and understood; then the
 * parts move in, the database last. Until the end `restoring` lies in the folder, and no gateway starts on it.
 *
 * The restored gateway starts held (see `hold.ts`): machines of tasks may belong to a copy of it that lives.
 */
import { existsSync, statSync } from 'node:fs'
import { chmod, cp, mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { writeOwnerOnly } from '../../host/files.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { RESTORED_FILE, RESTORING } from '../hold.ts'
import { lockDataDirectory } from '../lock.ts'
import { SCHEMA_VERSION } from '../store/migrations.ts'
import { isArchive, unpack } from './archive.ts'
import { KEY_FILES } from './backup.ts'
import { MANIFEST, type Manifest, readManifest, verify } from './manifest.ts'

const LOCK = 'gateway.lock'
/** In the order in which they move in. */
const PARTS = ['workspaces', 'artifacts', ...KEY_FILES, 'gateway.db'] as const

export interface RestoreOptions {
  dataDirectory: string
  source: string
  progress(message: string): void
}

/** @throws RclaudeError `invalid` for a backup that is not whole, `conflict` for a folder in use, `version_mismatch` */
export async function restore({ dataDirectory, source, progress }: RestoreOptions): Promise<Manifest> {
  if (!existsSync(source)) throw new RclaudeError('not_found', `there is no backup ${source}`)
  const wasThere = existsSync(dataDirectory)
  await mkdir(dataDirectory, { recursive: true, mode: 0o700 })
  const hadLock = existsSync(join(dataDirectory, LOCK))
  const lock = lockDataDirectory(dataDirectory)
  const staging = join(dataDirectory, RESTORING)
  let isUntouched = true
  try {
    await refuseUsed(dataDirectory)
    await mkdir(staging, { mode: 0o700 })
    isUntouched = false
    progress('reading the backup')
    if (isArchive(source) && statSync(source).isFile()) await unpack(source, staging)
    else await cp(source, staging, { recursive: true, verbatimSymlinks: true })
    progress('checking it')
    const manifest = await readManifest(staging, source)
    await verify(staging, manifest, source)
    checkSchema(manifest, source)
    progress('moving it in')
    await moveIn(staging, dataDirectory, manifest)
    await rm(staging, { recursive: true })
    return manifest
  } catch (error) {
    // The folder was empty before: whatever is in it came from here.
    if (!isUntouched)
      for (const name of [...PARTS, RESTORED_FILE, RESTORING])
        await rm(join(dataDirectory, name), { recursive: true, force: true })
    lock.release() // its own small files go with it
    if (!hadLock) await rm(join(dataDirectory, LOCK), { force: true })
    if (!wasThere) await rmdir(dataDirectory).catch(() => {})
    throw error
  } finally {
    lock.release()
  }
}

async function refuseUsed(dataDirectory: string): Promise<void> {
  const names = (await readdir(dataDirectory)).filter((name) => !name.startsWith(LOCK))
  if (names.includes(RESTORING))
    throw new RclaudeError(
      'conflict',
      `a restore into ${dataDirectory} was interrupted: delete the folder and restore again`,
    )
  const [first] = names
  if (first !== undefined)
    throw new RclaudeError('conflict', `${dataDirectory} is not empty (${first} is there): restore into a new folder`)
}

function checkSchema({ schema, version }: Manifest, source: string): void {
  if (schema > SCHEMA_VERSION)
    throw new RclaudeError(
      'version_mismatch',
      `${source} was made by gateway ${version} (schema ${schema}), this one knows schema ${SCHEMA_VERSION}: restore it with that release or a newer one`,
    )
}

async function moveIn(staging: string, dataDirectory: string, manifest: Manifest): Promise<void> {
  const { takenAt, gatewayId, version } = manifest
  const marker = { restoredAt: new Date().toISOString(), takenAt, gatewayId, version }
  writeOwnerOnly(join(dataDirectory, RESTORED_FILE), JSON.stringify(marker))
  await rm(join(staging, MANIFEST))
  for (const name of PARTS) {
    const from = join(staging, name)
    if (!existsSync(from)) continue
    await chmod(from, statSync(from).isDirectory() ? 0o700 : 0o600)
    await rename(from, join(dataDirectory, name))
  }
}
