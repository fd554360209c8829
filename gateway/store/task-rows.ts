/** How tasks and events lie in their tables, and how they are read back. */
import type { EventBody, TaskEvent } from '../../protocol/event.ts'
import type { TaskId, TokenId } from '../../protocol/ids.ts'
import { type Task, TaskState, type Turn } from '../../protocol/task.ts'

export interface TaskRow {
  n: number
  id: TaskId
  owner: string
  state: string
  version: number
  facts: string
  /** Without their prompts. */
  turns: string
  workspace: string
  usage: string
  stop_requested: string | null
  retry_of: string | null
  isolation: string | null
  created_at: string
  last_seq: number
  event_bytes: number
  token_id: TokenId | null
  agent: string | null
  budget_usd: number | null
  pruned: string | null
  machine_cost: string | null
  ended_at: string | null
}

/** What is large and seldom changes has a table of its own: a task's row is written anew with each batch of events. */
interface TextsRow {
  spec: string
  prompts: string
}

export type FullRow = TaskRow & TextsRow

export interface EventRow {
  seq: number
  at: string
  turn: number
  launch_id: string | null
  body: string
}

/** A row whose texts are missing is damaged, and cannot be read; it is found all the same. */
export const SELECT_TASKS = 'SELECT * FROM tasks LEFT JOIN task_texts ON task_id = id'

export const stateOf = (row: TaskRow): TaskState => TaskState.parse({ state: row.state, ...JSON.parse(row.facts) })

export const turnsColumn = (turns: readonly Turn[]): string =>
  JSON.stringify(turns.map(({ prompt: _, ...turn }) => turn))
export const promptsColumn = (turns: readonly Turn[]): string => JSON.stringify(turns.map(({ prompt }) => prompt))

export const toFullTask = (row: FullRow): Task =>
  toTask(row, { spec: JSON.parse(row.spec) as Task['spec'], prompts: JSON.parse(row.prompts) as string[] })

export function toTask(row: TaskRow, { spec, prompts }: { spec: Task['spec']; prompts: readonly string[] }): Task {
  const turns = JSON.parse(row.turns) as Array<Omit<Turn, 'prompt'>>
  return {
    id: row.id,
    owner: row.owner,
    spec,
    createdAt: row.created_at,
    turns: turns.map((turn, index) => ({ ...turn, prompt: prompts[index] ?? '' })),
    workspace: JSON.parse(row.workspace) as Task['workspace'],
    usage: JSON.parse(row.usage) as Task['usage'],
    lastSeq: row.last_seq,
    ...(row.stop_requested !== null && { stopRequested: JSON.parse(row.stop_requested) as Task['stopRequested'] }),
    ...(row.retry_of !== null && { retryOf: row.retry_of as TaskId }),
    ...(row.isolation !== null && { isolation: row.isolation as Task['isolation'] }),
    ...(row.pruned !== null && { pruned: JSON.parse(row.pruned) as Task['pruned'] }),
    ...(row.machine_cost !== null && { machineCost: JSON.parse(row.machine_cost) as Task['machineCost'] }),
    ...stateOf(row),
  } as Task
}

export function toEvent(row: EventRow): TaskEvent {
  const body = JSON.parse(row.body) as EventBody
  const source: TaskEvent['source'] = row.launch_id === null ? 'gateway' : 'agent'
  return { seq: row.seq, at: row.at, turn: row.turn, source, ...body }
}
