/**
 * The copies that are made before a database is migrated: `gateway.db.before-3` is what there was before schema 3. An
 * older gateway can go back to it.
 */
import { closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { RclaudeError } from '../../protocol/errors.ts'
import { Database } from '../database.ts'

/** Copies that are kept, the newest. */
const KEPT = 2

/** @returns the file. @throws RclaudeError `disk_full` when there is no room for it: then nothing is migrated */
export function saveBefore(database: Database, from: number, to: number): string {
  const file = `${database.name}.before-${to}`
  const unfinished = `${file}.tmp`
  rmSync(unfinished, { force: true }) // of a gateway that was killed here
  try {
    database.prepare('VACUUM INTO ?').run(unfinished) // in one read transaction, without a server's pages to wait for
    sync(unfinished)
    renameSync(unfinished, file)
  } catch (cause) {
    rmSync(unfinished, { force: true })
    throw new RclaudeError(
      'disk_full',
      `cannot save the database before it is migrated from schema ${from} to ${to} (${(cause as Error).message}): free space in ${dirname(file)} and start again`,
      { cause },
    )
  }
  for (const old of savedBeside(database.name).slice(KEPT)) rmSync(old.file, { force: true })
  return file
}

/** The newest copy that a gateway which knows `schema` can use. */
export function backupThatFits(file: string, schema: number): { file: string; schema: number } | undefined {
  return savedBeside(file)
    .map((saved) => ({ file: saved.file, schema: schemaOf(saved.file) }))
    .filter((saved): saved is { file: string; schema: number } => saved.schema !== undefined && saved.schema <= schema)
    .sort((a, b) => b.schema - a.schema)[0]
}

/** Newest first. */
function savedBeside(file: string): Array<{ file: string; before: number }> {
  const prefix = `${basename(file)}.before-`
  return readdirSync(dirname(file))
    .filter((name) => name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length)))
    .map((name) => ({ file: join(dirname(file), name), before: Number(name.slice(prefix.length)) }))
    .sort((a, b) => b.before - a.before)
}

function schemaOf(file: string): number | undefined {
  try {
    const database = new Database(file, { readonly: true })
    try {
      return database.prepareValue<[], number>('PRAGMA user_version').get() ?? 0
    } finally {
      database.close()
    }
  } catch {
    return undefined // no database
  }
}

function sync(file: string): void {
  const handle = openSync(file, 'r+')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
