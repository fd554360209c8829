/** Tasks that have ended: found in the order in which they did, and deleted so that it can be said later. */

import type { TaskId } from '../../protocol/ids.ts'
import type { Database } from '../database.ts'
import type { EndedTask, Store } from './store.ts'

type EndedPart = Pick<Store, 'endedTasks' | 'totalEventBytes' | 'buryTask' | 'tombstone' | 'dropTombstones'>

interface EndedRow {
  n: number
  id: TaskId
  owner: string
  ended_at: string
  outcome: string | null
  event_bytes: number
  pruned: string | null
}

export function endedTables(database: Database): EndedPart {
  const select = database.prepare<Record<string, string | number | null>, EndedRow>(
    `SELECT n, id, owner, ended_at, iif(json_valid(facts), facts ->> '$.outcome', NULL) AS outcome, event_bytes, pruned
     FROM tasks
     WHERE ended_at IS NOT NULL AND (ended_at, n) > (@afterEnd, @afterN)
       AND (@before IS NULL OR ended_at < @before)
       AND (@owner IS NULL OR owner = @owner)
       AND (@outcome IS NULL OR outcome = @outcome)
       AND (@onlyUnpruned = 0 OR pruned IS NULL)
     ORDER BY ended_at, n LIMIT @limit`,
  )
  const bury = database.transaction((taskId: TaskId, by: string, at: string): boolean => {
    const owner = database
      .prepareValue<[string], string>(`SELECT owner FROM tasks WHERE id = ? AND state = 'ended'`)
      .get(taskId)
    if (owner === undefined) return false
    database.prepare('INSERT OR REPLACE INTO pruned_tasks VALUES (?, ?, ?, ?)').run(taskId, owner, at, by)
    database.prepare('DELETE FROM tasks WHERE id = ?').run(taskId)
    return true
  })
  return {
    endedTasks({ owner, outcome, before, onlyUnpruned, limit, cursor }) {
      const [afterEnd = '', afterN = '0'] = (cursor ?? '').split('_')
      return select
        .all({
          owner: owner ?? null,
          outcome: outcome ?? null,
          before: before ?? null,
          onlyUnpruned: onlyUnpruned === true ? 1 : 0,
          afterEnd,
          afterN: Number.parseInt(afterN, 36) || 0,
          limit,
        })
        .map(toEnded)
    },
    totalEventBytes: () =>
      database.prepareValue<[], number>('SELECT coalesce(sum(event_bytes), 0) FROM tasks').get() ?? 0,
    buryTask: (taskId, { by, at }) => bury.immediate(taskId, by, at),
    tombstone: (taskId) =>
      database
        .prepare<[string], { owner: string; at: string; by: string }>(
          'SELECT owner, at, by FROM pruned_tasks WHERE task_id = ?',
        )
        .get(taskId),
    dropTombstones: (before) => void database.prepare('DELETE FROM pruned_tasks WHERE at < ?').run(before),
  }
}

const toEnded = (row: EndedRow): EndedTask => ({
  id: row.id,
  owner: row.owner,
  endedAt: row.ended_at,
  outcome: row.outcome ?? 'unknown',
  eventBytes: row.event_bytes,
  isPruned: row.pruned !== null,
  cursor: `${row.ended_at}_${row.n.toString(36)}`,
})
