/** Tasks, their events and their undelivered secrets. */

import type { AgentEvent } from '../../protocol/event.ts'
import type { LaunchId, TaskId } from '../../protocol/ids.ts'
import { type StateName, type Task, TaskState } from '../../protocol/task.ts'
import type { Database } from '../database.ts'
import { spending } from './accounts.ts'
import type { Lease, NewTask, Store, TaskChange, TaskFilter } from './store.ts'
import {
  type EventRow,
  type FullRow,
  promptsColumn,
  SELECT_TASKS,
  stateOf,
  type TaskRow,
  toEvent,
  toFullTask,
  toTask,
  turnsColumn,
} from './task-rows.ts'

type TaskPart = Pick<
  Store,
  | 'insertTask'
  | 'findIdempotent'
  | 'getTask'
  | 'listTasks'
  | 'countTasks'
  | 'activeTaskIds'
  | 'changeTask'
  | 'deleteTask'
  | 'events'
  | 'recordEvents'
  | 'lastAgentSeq'
  | 'eventBytes'
  | 'leases'
  | 'dropLease'
  | 'sealedSecrets'
  | 'putSecrets'
  | 'dropSecrets'
  | 'onEvents'
>

/** @param onSecretsDropped makes sure that no trace of them is left */
export function taskTables(database: Database, onUnreadable: OnUnreadable, onSecretsDropped: () => void): TaskPart {
  const listeners = new Set<(taskId: TaskId) => void>()
  const select = database.prepare<[string], FullRow>(`${SELECT_TASKS} WHERE id = ?`)
  const selectRow = database.prepare<[string], TaskRow>('SELECT * FROM tasks WHERE id = ?')
  const update = database.prepare(
    `UPDATE tasks SET state = @state, version = version + 1, facts = @facts, turns = @turns, workspace = @workspace,
       usage = @usage, stop_requested = @stop, last_seq = @lastSeq, event_bytes = event_bytes + @bytes,
       token_id = coalesce(@tokenId, token_id), pruned = coalesce(@pruned, pruned),
       machine_cost = coalesce(@machineCost, machine_cost), ended_at = @endedAt
     WHERE id = @id AND version = @version`,
  )
  const updatePrompts = database.prepare('UPDATE task_texts SET prompts = ? WHERE task_id = ?')
  const insertEvent = database.prepare('INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)')
  const selectEvents = database.prepare<[string, number, number], EventRow>(
    'SELECT seq, at, turn, launch_id, body FROM events WHERE task_id = ? AND seq > ? ORDER BY seq LIMIT ?',
  )
  const countInState = database.prepareValue<[StateName], number>('SELECT count(*) FROM tasks WHERE state = ?')
  const selectActiveIds = database.prepareValue<[], TaskId>(`SELECT id FROM tasks WHERE state <> 'ended' ORDER BY n`)
  const selectTaskOfLaunch = database.prepareValue<[string], TaskId>('SELECT task_id FROM launches WHERE launch_id = ?')
  const selectEventBytes = database.prepareValue<[string], number>('SELECT event_bytes FROM tasks WHERE id = ?')
  const selectLast = database.prepareValue('SELECT max(agent_seq) FROM events WHERE launch_id = ?')
  const selectLeases = database.prepare<[], Lease>(
    'SELECT task_id AS taskId, grace_seconds AS graceSeconds FROM leases',
  )
  const putSecrets = database.prepare('INSERT OR REPLACE INTO secrets VALUES (?, ?)')

  const dropSecrets = database.prepare('DELETE FROM secrets WHERE task_id = ?')
  const spend = spending(database)

  const publish = (taskId: TaskId) => {
    for (const listener of listeners) listener(taskId)
  }

  /** Applies a change to the row, which `current` was made of; `heard` are events of the agent that go before the change's own. */
  function apply(
    row: TaskRow,
    current: Task,
    change: TaskChange,
    heard: { launchId: LaunchId; events: AgentEvent[] } | undefined,
  ): Task {
    const now = new Date().toISOString()
    const turns = change.turns ?? current.turns
    let seq = row.last_seq
    let bytes = 0
    const store = (at: string, turn: number, launchId: string | null, agentSeq: number | null, body: string) => {
      insertEvent.run(row.id, ++seq, at, turn, launchId, agentSeq, body)
      bytes += body.length
    }
    for (const { agentSeq, at, turn, ...body } of heard?.events ?? [])
      store(at, turn, heard?.launchId ?? null, agentSeq, JSON.stringify(body))
    for (const body of change.events ?? []) store(now, turns.length, null, null, JSON.stringify(body))
    const { state, ...facts } = change.state ?? stateOf(row)
    const tokenId = change.tokenId ?? row.token_id
    const grownUsd = change.usage === undefined ? 0 : change.usage.costUsd - current.usage.costUsd
    spend(row.owner, tokenId, Math.max(0, grownUsd) + (change.chargeUsd ?? 0))
    const changed = update.run({
      id: row.id,
      version: row.version,
      state,
      facts: JSON.stringify(facts),
      turns: turnsColumn(turns),
      workspace: JSON.stringify(change.workspace ?? current.workspace),
      usage: JSON.stringify(change.usage ?? current.usage),
      stop:
        change.stopRequested === undefined
          ? row.stop_requested
          : change.stopRequested && JSON.stringify(change.stopRequested),
      lastSeq: seq,
      bytes,
      tokenId,
      pruned: change.pruned === undefined ? null : JSON.stringify(change.pruned),
      machineCost: change.machineCost === undefined ? null : JSON.stringify(change.machineCost),
      endedAt: 'endedAt' in facts ? facts.endedAt : null,
    })
    if (changed.changes !== 1) throw new Error(`task ${row.id} changed under a transaction`)
    if (turns.length !== current.turns.length) updatePrompts.run(promptsColumn(turns), row.id)
    const texts = { spec: current.spec, prompts: turns.map(({ prompt }) => prompt) }
    return toTask(selectRow.get(row.id) as TaskRow, texts)
  }

  const changeTask = database.transaction(
    (taskId: TaskId, decide: (task: Task) => TaskChange | undefined): Task | undefined => {
      const row = select.get(taskId)
      if (row === undefined) return undefined
      const current = toFullTask(row)
      const change = decide(current)
      return change && apply(row, current, change, undefined)
    },
  )

  const recordEvents = database.transaction(
    (
      launchId: LaunchId,
      events: AgentEvent[],
      decide: (task: Task, fresh: AgentEvent[]) => TaskChange | undefined,
    ): Task | undefined => {
      const taskId = selectTaskOfLaunch.get(launchId)
      const row = taskId === undefined ? undefined : select.get(taskId)
      const known = Number(selectLast.get(launchId) ?? 0)
      const fresh = events.filter((event) => event.agentSeq > known)
      if (row === undefined || fresh.length === 0) return undefined
      const current = toFullTask(row)
      return apply(row, current, decide(current, fresh) ?? {}, { launchId, events: fresh })
    },
  )

  const insertTask = database.transaction(({ task, tokenId, secrets, idempotency, events }: NewTask): Task => {
    const { state, ...facts } = TaskState.parse(task)
    database
      .prepare(
        `INSERT INTO tasks (id, owner, state, version, facts, turns, workspace, usage, retry_of, isolation, created_at,
           token_id, agent, budget_usd)
         VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        task.id,
        task.owner,
        state,
        JSON.stringify(facts),
        turnsColumn(task.turns),
        JSON.stringify(task.workspace),
        JSON.stringify(task.usage),
        task.retryOf ?? null,
        task.isolation ?? null,
        task.createdAt,
        tokenId ?? null,
        task.spec.agent,
        task.spec.limits.budgetUsd ?? null,
      )
    database
      .prepare('INSERT INTO task_texts VALUES (?, ?, ?)')
      .run(task.id, JSON.stringify(task.spec), promptsColumn(task.turns))
    if (secrets) putSecrets.run(task.id, secrets)
    const { onDisconnect } = task.spec
    if (onDisconnect) database.prepare('INSERT INTO leases VALUES (?, ?)').run(task.id, onDisconnect.stopAfterSeconds)
    if (idempotency)
      database
        .prepare('INSERT INTO idempotency VALUES (?, ?, ?, ?)')
        .run(task.owner, idempotency.key, idempotency.requestHash, task.id)
    const row = select.get(task.id) as FullRow
    return apply(row, toFullTask(row), { events }, undefined)
  })

  const announced = (task: Task | undefined): Task | undefined => {
    if (task) publish(task.id)
    return task
  }

  return {
    insertTask: (task) => insertTask.immediate(task),
    findIdempotent(owner, key) {
      const row = database
        .prepare<[string, string], { task_id: TaskId; request_hash: string }>(
          'SELECT task_id, request_hash FROM idempotency WHERE owner = ? AND key = ?',
        )
        .get(owner, key)
      return row && { taskId: row.task_id, requestHash: row.request_hash }
    },
    getTask(taskId) {
      const row = select.get(taskId)
      return row && toFullTask(row)
    },
    listTasks: (filter) => listTasks(database, filter, onUnreadable),
    countTasks: (state) => countInState.get(state) ?? 0,
    activeTaskIds: () => selectActiveIds.all(),
    changeTask: (taskId, decide) => announced(changeTask.immediate(taskId, decide)),
    deleteTask(taskId) {
      database.prepare('DELETE FROM tasks WHERE id = ?').run(taskId)
      publish(taskId) // whoever follows it learns that it is gone
    },
    events: (taskId, since, limit) => selectEvents.all(taskId, since, limit).map(toEvent),
    recordEvents: (launchId, events, decide) => announced(recordEvents.immediate(launchId, events, decide)),
    lastAgentSeq: (launchId) => Number(selectLast.get(launchId) ?? 0),
    leases: () => selectLeases.all(),
    dropLease: (taskId) => void database.prepare('DELETE FROM leases WHERE task_id = ?').run(taskId),
    eventBytes: (taskId) => selectEventBytes.get(taskId) ?? 0,
    sealedSecrets: (taskId) =>
      database.prepareValue('SELECT sealed FROM secrets WHERE task_id = ?').get(taskId) as Buffer | undefined,
    putSecrets: (taskId, sealed) => void putSecrets.run(taskId, sealed),
    dropSecrets(taskId) {
      if (dropSecrets.run(taskId).changes > 0) onSecretsDropped()
    },
    onEvents(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

export type OnUnreadable = (taskId: string, error: unknown) => void

/** One damaged row must not hide the others, nor stop the gateway. */
function readable(rows: FullRow[], onUnreadable: OnUnreadable): Task[] {
  return rows.flatMap((row) => {
    try {
      return [toFullTask(row)]
    } catch (error) {
      onUnreadable(row.id, error)
      return []
    }
  })
}

function listTasks(
  database: Database,
  filter: TaskFilter,
  onUnreadable: OnUnreadable,
): { tasks: Task[]; nextCursor?: string } {
  const where: string[] = ['1 = 1']
  const values: Record<string, string | number> = { limit: filter.limit + 1 }
  const add = (condition: string, name: string, value: string | number) => {
    where.push(condition)
    values[name] = value
  }
  if (filter.owner !== undefined) add('owner = @owner', 'owner', filter.owner)
  if (filter.sharedWith !== undefined)
    add('id IN (SELECT shares.task_id FROM shares WHERE user = @sharedWith)', 'sharedWith', filter.sharedWith)
  if (filter.state === 'active') where.push(`state <> 'ended'`)
  else if (filter.state !== undefined) add('state = @state', 'state', filter.state)
  if (filter.cursor !== undefined) add('n < @before', 'before', Number.parseInt(filter.cursor, 36) || 0)
  if (filter.label !== undefined) {
    const { name, value } = filter.label
    values.labelName = name
    if (value === undefined)
      where.push(`EXISTS (SELECT 1 FROM json_each(spec, '$.labels') AS label WHERE label.key = @labelName)`)
    else
      add(
        `EXISTS (SELECT 1 FROM json_each(spec, '$.labels') AS label WHERE label.key = @labelName AND label.value = @labelValue)`,
        'labelValue',
        value,
      )
  }
  const rows = database
    .prepare<[typeof values], FullRow>(`${SELECT_TASKS} WHERE ${where.join(' AND ')} ORDER BY n DESC LIMIT @limit`)
    .all(values)
  const tasks = rows.slice(0, filter.limit)
  const last = tasks.at(-1)
  return {
    tasks: readable(tasks, onUnreadable),
    ...(rows.length > tasks.length && last && { nextCursor: last.n.toString(36) }),
  }
}
