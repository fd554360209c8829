/** The store on SQLite: opens the file, migrates it, and puts the tables' parts together. */

import { RclaudeError } from '../../protocol/errors.ts'
import { GatewayId, newGatewayId } from '../../protocol/ids.ts'
import { Database, SqliteError } from '../database.ts'
import { accessTables } from './access.ts'
import { accountTables } from './accounts.ts'
import { endedTables } from './ended.ts'
import { launchTables } from './launches.ts'
import { type MigrateOptions, migrate } from './migrations.ts'
import { modelTables } from './models.ts'
import { previewTables } from './previews.ts'
import { shareTables } from './shares.ts'
import type { Store } from './store.ts'
import { type OnUnreadable, taskTables } from './tasks.ts'

/** @param onUnreadable told of a task whose row cannot be understood; it is left out of lists */
export function openStore(file: string, onUnreadable: OnUnreadable = () => {}, migration: MigrateOptions = {}): Store {
  const database = new Database(file)
  database.exec('PRAGMA journal_mode = WAL')
  // A killed process loses nothing that was committed; only a power cut may lose the newest commits.
  database.exec('PRAGMA synchronous = NORMAL')
  database.exec('PRAGMA foreign_keys = ON')
  // What is deleted is overwritten, not only forgotten.
  database.exec('PRAGMA secure_delete = ON')
  migrate(database, undefined, migration)
  forgetLog(database) // of a gateway that was killed
  return {
    gatewayId: gatewayIdOf(database),
    ...guarded(taskTables(database, onUnreadable, () => forgetLog(database))),
    ...guarded(launchTables(database)),
    ...guarded(accountTables(database)),
    ...guarded(endedTables(database)),
    ...guarded(accessTables(database)),
    ...guarded(modelTables(database)),
    ...guarded(shareTables(database)),
    ...guarded(previewTables(database)),
    ...guarded(metaTable(database)),
    close: () => database.close(),
  }
}

/** The write-ahead log still holds what was deleted since: it is written back, and emptied. */
function forgetLog(database: Database): void {
  try {
    database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  } catch (error) {
    if (!(error instanceof SqliteError)) throw error
    // A full disk: what was deleted is deleted, and the next time takes its traces along.
  }
}

function metaTable(database: Database): Pick<Store, 'getMeta' | 'setMeta'> {
  const select = database.prepareValue<[string], string>('SELECT value FROM meta WHERE name = ?')
  const replace = database.prepare('INSERT OR REPLACE INTO meta VALUES (?, ?)')
  return { getMeta: (name) => select.get(name), setMeta: (name, value) => void replace.run(name, value) }
}

function gatewayIdOf(database: Database): GatewayId {
  database.prepare(`INSERT OR IGNORE INTO meta VALUES ('gateway_id', ?)`).run(newGatewayId())
  return GatewayId.parse(database.prepareValue(`SELECT value FROM meta WHERE name = 'gateway_id'`).get())
}

/** A full disk becomes an error that says so; the transaction it hit was rolled back. */
function guarded<Methods extends object>(methods: Methods): Methods {
  const wrapped = Object.entries(methods).map(([name, method]) => [
    name,
    typeof method !== 'function'
      ? method
      : (...args: unknown[]) => {
          try {
            return (method as (...args: unknown[]) => unknown)(...args)
          } catch (error) {
            if (error instanceof SqliteError && /^SQLITE_(FULL|IOERR)/.test(error.code))
              throw new RclaudeError(
                'disk_full',
                `the gateway's disk is full (${error.code}): free space and try again`,
                {
                  cause: error,
                },
              )
            throw error
          }
        },
  ])
  return Object.fromEntries(wrapped) as Methods
}
