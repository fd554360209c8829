/**
 * A copy of the data folder that can be restored, made while the gateway works on it.
 *
 * The database first, then what it names: repositories and artifacts that come later do no harm, and one that was there
 * when the database was copied is still there afterwards, or its task has been deleted meanwhile; such a task leaves the
 * copy as well. In a repository the refs go before the objects, so that every ref finds what it names.
 *
 * All is made under a temporary name beside the target; the manifest is its last file, and the rename the last step.
 */
import { existsSync } from 'node:fs'
import { copyFile, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { RclaudeError } from '../../protocol/errors.ts'
import { formatBytes } from '../../protocol/units.ts'
import { Database } from '../database.ts'
import { copyRepository } from '../workspaces/copy.ts'
import { isArchive, pack } from './archive.ts'
import { listFiles, MANIFEST, type Manifest, newManifest } from './manifest.ts'

/** What opens the door: left out without the key. */
export const KEY_FILES = ['secret.key', 'admin-token'] as const

export interface BackupOptions {
  dataDirectory: string
  /** A folder, or by its name an archive. */
  target: string
  withKey: boolean
  version: string
  /** Told what is done next. */
  progress(message: string): void
}

/** @throws RclaudeError `conflict` when the target exists, `not_found` when there is nothing to back up */
export async function backUp(options: BackupOptions): Promise<Manifest> {
  const { dataDirectory, target } = options
  const live = join(dataDirectory, 'gateway.db')
  if (!existsSync(live))
    throw new RclaudeError('not_found', `${dataDirectory} holds no gateway (there is no gateway.db)`)
  refuseExisting(target)
  const folder = join(dirname(target), `.${basename(target)}.${process.pid}.partial`)
  const archive = `${folder}.tar`
  await mkdir(dirname(target), { recursive: true })
  await mkdir(folder, { mode: 0o700 })
  try {
    const manifest = await fill(folder, live, options)
    if (isArchive(target)) {
      options.progress(`packing ${formatBytes(manifest.bytes)}`)
      await writeFile(archive, '', { mode: 0o600 })
      await pack(folder, archive, target)
    }
    refuseExisting(target)
    await rename(isArchive(target) ? archive : folder, target)
    return manifest
  } finally {
    for (const path of [folder, archive]) await rm(path, { recursive: true, force: true, maxRetries: 3 })
  }
}

function refuseExisting(target: string): void {
  if (existsSync(target)) throw new RclaudeError('conflict', `${target} exists: a backup overwrites nothing`)
}

async function fill(folder: string, live: string, options: BackupOptions): Promise<Manifest> {
  const { dataDirectory, withKey, progress } = options
  const takenAt = new Date().toISOString()
  const copy = join(folder, 'gateway.db')
  const source = new Database(live, { readonly: true, fileMustExist: true })
  try {
    progress('database')
    // In one read transaction: a busy gateway cannot make the copy begin anew for ever.
    source.prepare('VACUUM INTO ?').run(copy)
    const taskIds = idsIn(copy)
    await copyWorkspaces(options, folder, taskIds)
    await copyArtifacts(options, folder, taskIds)
    const present = new Set(source.prepareValue<[], string>('SELECT id FROM tasks').all())
    const deleted = taskIds.filter((id) => !present.has(id))
    for (const id of deleted) await removeFiles(folder, id)
    const facts = settle(copy, deleted)
    if (withKey) for (const name of KEY_FILES) await copyIfThere(join(dataDirectory, name), join(folder, name))
    progress('checksums')
    const manifest = newManifest({
      ...facts,
      version: options.version,
      takenAt,
      hasKey: existsSync(join(folder, KEY_FILES[0])),
      files: await listFiles(folder),
    })
    await writeFile(join(folder, MANIFEST), JSON.stringify(manifest), { mode: 0o600 })
    return manifest
  } finally {
    source.close()
  }
}

function idsIn(file: string): string[] {
  const database = new Database(file, { readonly: true })
  try {
    return database.prepareValue<[], string>('SELECT id FROM tasks').all()
  } finally {
    database.close()
  }
}

async function copyWorkspaces(
  { dataDirectory, progress }: BackupOptions,
  folder: string,
  taskIds: string[],
): Promise<void> {
  const to = join(folder, 'workspaces')
  await mkdir(to, { mode: 0o700 })
  for (const [index, id] of taskIds.entries()) {
    progress(`workspace ${index + 1} of ${taskIds.length}`)
    const repository = join(dataDirectory, 'workspaces', `${id}.git`)
    if (existsSync(repository)) await copyRepository(repository, join(to, `${id}.git`))
  }
}

async function copyArtifacts(
  { dataDirectory, progress }: BackupOptions,
  folder: string,
  taskIds: string[],
): Promise<void> {
  const to = join(folder, 'artifacts')
  await mkdir(to, { mode: 0o700 })
  for (const id of taskIds) {
    const names = (await readdir(join(dataDirectory, 'artifacts', id)).catch(() => [])).filter(
      (name) => !name.startsWith('.'), // one that is arriving
    )
    if (names.length === 0) continue
    progress(`artifacts of ${id}`)
    await mkdir(join(to, id), { mode: 0o700 })
    for (const name of names) await copyIfThere(join(dataDirectory, 'artifacts', id, name), join(to, id, name))
  }
}

async function removeFiles(folder: string, id: string): Promise<void> {
  for (const path of [join('workspaces', `${id}.git`), join('artifacts', id)])
    await rm(join(folder, path), { recursive: true, force: true })
}

/** Takes out what was deleted meanwhile, and makes one file of it that needs no other beside it. */
function settle(file: string, deleted: readonly string[]): Pick<Manifest, 'gatewayId' | 'schema' | 'tasks'> {
  const database = new Database(file)
  try {
    database.exec('PRAGMA journal_mode = DELETE')
    database.exec('PRAGMA foreign_keys = ON')
    const remove = database.prepare('DELETE FROM tasks WHERE id = ?')
    database.transaction(() => deleted.forEach((id) => void remove.run(id)))()
    const check = database.prepareValue<[], string>('PRAGMA integrity_check').get()
    if (check !== 'ok') throw new RclaudeError('internal', `the gateway's database is damaged: ${String(check)}`)
    return {
      gatewayId: String(database.prepareValue("SELECT value FROM meta WHERE name = 'gateway_id'").get()),
      schema: database.prepareValue<[], number>('PRAGMA user_version').get() ?? 0,
      tasks: Number(database.prepareValue('SELECT count(*) FROM tasks').get()),
    }
  } finally {
    database.close()
  }
}

async function copyIfThere(from: string, to: string): Promise<void> {
  await copyFile(from, to).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error // deleted meanwhile
  })
}
