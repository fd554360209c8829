/** Launches: the intent is stored before a launcher is called, so no placement is ever unknown. */

import type { LaunchId, TaskId } from '../../protocol/ids.ts'
import type { Placement } from '../../protocol/task.ts'
import type { Database } from '../database.ts'
import type { Launch, Store } from './store.ts'

interface LaunchRow {
  launch_id: LaunchId
  task_id: TaskId
  launcher: string
  join_hash: string
  credential_hash: string | null
  vouched_at: string | null
  placement: string | null
  request: Buffer | null
  created_at: string
  closed_at: string | null
}

type LaunchPart = Pick<
  Store,
  | 'insertLaunch'
  | 'getLaunch'
  | 'setRequest'
  | 'setPlacement'
  | 'bindCredential'
  | 'setVouched'
  | 'closeLaunch'
  | 'openPlacements'
>

export function launchTables(database: Database): LaunchPart {
  const select = database.prepare<[string], LaunchRow>('SELECT * FROM launches WHERE launch_id = ?')
  const bind = database.prepare(
    'UPDATE launches SET credential_hash = @hash WHERE launch_id = @launchId AND (credential_hash IS NULL OR credential_hash = @hash)',
  )
  const open = database.prepareValue<[], string>(
    'SELECT placement FROM launches WHERE closed_at IS NULL AND placement IS NOT NULL',
  )
  return {
    insertLaunch: (launch) =>
      void database
        .prepare(
          'INSERT INTO launches (launch_id, task_id, launcher, join_hash, request, created_at) VALUES (?, ?, ?, ?, ?, ?)',
        )
        .run(
          launch.launchId,
          launch.taskId,
          launch.launcher,
          launch.joinHash,
          launch.request ?? null,
          launch.createdAt,
        ),
    getLaunch(launchId) {
      const row = select.get(launchId)
      return row && toLaunch(row)
    },
    setRequest: (launchId, request) =>
      void database.prepare('UPDATE launches SET request = ? WHERE launch_id = ?').run(request, launchId),
    setPlacement: (launchId, placement) =>
      void database
        .prepare('UPDATE launches SET placement = ?, request = NULL WHERE launch_id = ?')
        .run(JSON.stringify(placement), launchId),
    bindCredential: (launchId, hash) => bind.run({ launchId, hash }).changes === 1,
    setVouched: (launchId) =>
      void database
        .prepare('UPDATE launches SET vouched_at = ? WHERE launch_id = ?')
        .run(new Date().toISOString(), launchId),
    closeLaunch: (launchId) =>
      void database
        .prepare('UPDATE launches SET closed_at = ?, request = NULL WHERE launch_id = ? AND closed_at IS NULL')
        .run(new Date().toISOString(), launchId),
    openPlacements: () => open.all().map((placement) => JSON.parse(placement) as Placement),
  }
}

const toLaunch = (row: LaunchRow): Launch => ({
  launchId: row.launch_id,
  taskId: row.task_id,
  launcher: row.launcher,
  joinHash: row.join_hash,
  credentialHash: row.credential_hash ?? undefined,
  vouchedAt: row.vouched_at ?? undefined,
  placement: row.placement === null ? undefined : (JSON.parse(row.placement) as Placement),
  request: row.request ?? undefined,
  createdAt: row.created_at,
  closedAt: row.closed_at ?? undefined,
})
