/**
 * One gateway per data folder. The lock is SQLite's own on a small file, held for the life of the process: the kernel
 * drops it however the process ends, so there is no stale lock to clean up.
 */
import { join } from 'node:path'
import { RclaudeError } from '../protocol/errors.ts'
import { Database, SqliteError } from './database.ts'

/** @throws RclaudeError `conflict` when another gateway holds the folder */
export function lockDataDirectory(directory: string): { release(): void } {
  const database = new Database(join(directory, 'gateway.lock'), { timeout: 0 })
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE')
    database.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    if (error instanceof SqliteError && error.code.startsWith('SQLITE_BUSY'))
      throw new RclaudeError('conflict', `another gateway is running on ${directory}`, { cause: error })
    throw error
  }
  return { release: () => database.close() }
}
