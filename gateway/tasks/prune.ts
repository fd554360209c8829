/**
 * Makes room: ended tasks are deleted with all they left, or only their workspaces and artifacts, those that ended first
 * first. Asked for by users (`rclaude prune`), and by the gateway itself as `retention` in the configuration says.
 *
 * A task that is to lose its files is marked before they go, in a transaction that looks whether it has still ended: one
 * that was continued meanwhile keeps everything, and one that is marked cannot be continued. Killed in between, what
 * is left on the disk is found by `sweep`.
 */
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import { TaskId } from '../../protocol/ids.ts'
import type { Pruned } from '../../protocol/task.ts'
import type { EndedFilter, EndedTask } from '../store/store.ts'
import { isoNow, type TaskContext } from './context.ts'

export type PruneContext = Pick<TaskContext, 'store' | 'workspaces' | 'artifacts' | 'log' | 'config'>

export interface PruneRequest extends EndedFilter {
  /** Workspaces and artifacts go, the rest stays. */
  workspacesOnly: boolean
  /** Only look. */
  dryRun: boolean
  /** The key that asks for it, or who does: for whoever asks for the task later. */
  by: string
  /** Ends it between two tasks. */
  signal?: AbortSignal
}

export interface PrunedTask {
  task: EndedTask
  bytes: number
}

/** @returns what went, or would go, and where to go on when there is more */
export async function prune(
  context: PruneContext,
  request: PruneRequest,
): Promise<{ pruned: PrunedTask[]; nextCursor?: string }> {
  const { workspacesOnly, dryRun, by, signal, limit, ...filter } = request
  const found = context.store.endedTasks({ ...filter, onlyUnpruned: workspacesOnly, limit: limit + 1 })
  const pruned: PrunedTask[] = []
  for (const task of found.slice(0, limit)) {
    if (signal?.aborted) break
    const bytes = await bytesOf(context, task, workspacesOnly)
    const isDone = dryRun || (await remove(context, task, { workspacesOnly, by }))
    if (isDone) pruned.push({ task, bytes })
  }
  const last = found[limit - 1]
  return { pruned, ...(found.length > limit && last && { nextCursor: last.cursor }) }
}

/** @returns false for a task that goes on, or is gone already */
export async function remove(
  context: PruneContext,
  task: EndedTask,
  { workspacesOnly, by }: { workspacesOnly: boolean; by: string },
): Promise<boolean> {
  const pruned: Pruned = { at: isoNow(), by }
  if (!task.isPruned && !mark(context, task.id, pruned, workspacesOnly)) return false
  await context.workspaces.delete(task.id)
  await context.artifacts.delete(task.id)
  if (!workspacesOnly && !context.store.buryTask(task.id, pruned)) return false
  context.log.info({ taskId: task.id, by, workspacesOnly }, 'pruned a task')
  return true
}

/** A row that cannot be read takes no mark. It is no reason to keep the task for ever: that it has ended is known. */
function mark(context: PruneContext, taskId: TaskId, pruned: Pruned, mustHold: boolean): boolean {
  try {
    return context.store.changeTask(taskId, (now) => (now.state === 'ended' ? { pruned } : undefined)) !== undefined
  } catch (error) {
    if (error instanceof RclaudeError) throw error // the disk is full
    context.log.error({ err: error, taskId }, 'the row of a task that is to be pruned cannot be read')
    return !mustHold
  }
}

/** What is freed, in bytes: on the disk, and in the database for what is to come. */
export async function bytesOf(
  context: Pick<PruneContext, 'workspaces' | 'artifacts'>,
  task: Pick<EndedTask, 'id' | 'eventBytes'>,
  workspacesOnly: boolean,
): Promise<number> {
  const files = await Promise.all([context.workspaces.diskUsage(task.id), context.artifacts.diskUsage(task.id)])
  return files.reduce((sum, bytes) => sum + bytes, workspacesOnly ? 0 : task.eventBytes)
}

/** Younger ones may belong to a task that is being made. */
const SWEEP_AGE_MS = 3_600_000
/** Folders that are looked at before anything else has its turn. */
const LOOKS_AT_ONCE = 50

/** Files of tasks that are no more, or lost theirs: a gateway was killed in the middle of it. */
export async function sweep(context: PruneContext, nowMs = Date.now()): Promise<number> {
  let swept = 0
  for (const directory of [context.workspaces.directory, context.artifacts.directory]) {
    for (const [at, name] of (await readdir(directory).catch(() => [])).entries()) {
      if (at % LOOKS_AT_ONCE === 0) await setImmediate()
      const id = TaskId.safeParse(name.replace(/\.git(\.new)?$/, ''))
      if (!id.success || !isOrphaned(context, id.data)) continue
      const found = await stat(join(directory, name)).catch(() => undefined)
      if (found === undefined || nowMs - found.mtimeMs < SWEEP_AGE_MS) continue
      await context.workspaces.delete(id.data)
      await context.artifacts.delete(id.data)
      swept++
    }
  }
  return swept
}

function isOrphaned({ store, log }: PruneContext, taskId: TaskId): boolean {
  try {
    const task = store.getTask(taskId)
    return task === undefined || (task.state === 'ended' && task.pruned !== undefined)
  } catch (error) {
    log.warn({ err: error, taskId }, 'the row of a task cannot be read; its files stay')
    return false
  }
}
