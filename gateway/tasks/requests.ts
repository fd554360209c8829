/** What users ask of an existing task: stop it, delete it; and the arrival of its workspace. */
import { RclaudeError } from '../../protocol/errors.ts'
import type { TaskId } from '../../protocol/ids.ts'
import type { Task } from '../../protocol/task.ts'
import { isoNow, type TaskContext } from './context.ts'

/** The first request counts; stopping what has ended changes nothing. */
export function requestStop(context: TaskContext, task: Task, by: string, reason: string): Task {
  const changed = context.store.changeTask(task.id, (now) => {
    if (now.state === 'ended' || now.state === 'finishing' || now.stopRequested) return undefined
    return {
      stopRequested: { by, at: isoNow(), reason },
      events: [{ type: 'step', step: 'stop', status: 'started', message: `${reason} (${by})` }],
    }
  })
  context.wake(task.id)
  return changed ?? context.store.getTask(task.id) ?? task
}

export async function deleteTask(context: TaskContext, task: Task): Promise<void> {
  if (task.state !== 'ended')
    throw new RclaudeError('conflict', `task ${task.id} is ${task.state}: stop it first (rclaude stop ${task.id})`)
  // The row goes last: killed in between, the rest can be asked for again.
  await context.workspaces.delete(task.id)
  await context.artifacts.delete(task.id)
  context.store.deleteTask(task.id)
}

/** The snapshot is there: nobody can change it any more, and the task may start. */
export async function workspaceArrived(context: TaskContext, taskId: TaskId): Promise<string | undefined> {
  const { snapshot } = await context.workspaces.seal(taskId)
  context.store.changeTask(taskId, (task) => {
    if (task.state !== 'queued' || task.waitingFor !== 'workspace') return undefined
    return {
      state: { state: 'queued', waitingFor: 'launch', since: isoNow() },
      workspace: { ...task.workspace, snapshot },
      events: [{ type: 'state', state: 'queued', message: 'waiting for launch' }],
    }
  })
  context.wake()
  return snapshot
}

/** Uploads are taken while the task waits for them, and never again. */
export function mustAwaitWorkspace(task: Task): void {
  if (task.state === 'queued' && task.waitingFor === 'workspace') return
  throw new RclaudeError(
    'conflict',
    task.spec.workspace.kind === 'snapshot'
      ? `task ${task.id} has its workspace already (it is ${task.state})`
      : `task ${task.id} takes no workspace: it was created with workspace kind "${task.spec.workspace.kind}"`,
  )
}
