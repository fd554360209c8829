/** Which tasks are shared with whom. A task's rows go with it. */

import type { Share, ShareAccess } from '../../protocol/routes.ts'
import type { Database } from '../database.ts'
import type { Store } from './store.ts'

type SharePart = Pick<Store, 'listShares' | 'getShare' | 'putShare' | 'dropShare'>

export function shareTables(database: Database): SharePart {
  const get = database.prepareValue<[string, string], ShareAccess>(
    'SELECT access FROM shares WHERE task_id = ? AND user = ?',
  )
  return {
    listShares: (taskId) =>
      database
        .prepare<[string], Share>('SELECT user, access, by, at FROM shares WHERE task_id = ? ORDER BY user')
        .all(taskId),
    getShare: (taskId, user) => get.get(taskId, user),
    putShare: (taskId, { user, access, by, at }) =>
      void database.prepare('INSERT OR REPLACE INTO shares VALUES (?, ?, ?, ?, ?)').run(taskId, user, access, by, at),
    dropShare: (taskId, user) =>
      void database.prepare('DELETE FROM shares WHERE task_id = ? AND user = ?').run(taskId, user),
  }
}
