/** Placements that no living task owns: nobody needs them, somebody pays for them. */
import type { LaunchId, TaskId } from '../../protocol/ids.ts'
import type { Placement, Task } from '../../protocol/task.ts'
import type { Launcher } from '../launchers/launcher.ts'
import type { TaskContext } from './context.ts'

/** A task that is launching owns what that launch may have started; one that cannot be read, whatever carries its id. */
export function isOwned(
  { store, log }: Pick<TaskContext, 'store' | 'log'>,
  taskId: TaskId,
  launchId: LaunchId,
): boolean {
  let task: Task | undefined
  try {
    task = store.getTask(taskId)
  } catch (error) {
    log.error({ err: error, taskId, launchId }, 'the row of a task cannot be read: its machine is left alone')
    return true
  }
  if (task === undefined) return false
  if (task.state === 'launching') return task.launchId === launchId
  return 'placement' in task && task.placement?.launchId === launchId
}

/** @throws the launcher's error */
export async function stopOrphan(
  { log, store }: Pick<TaskContext, 'log' | 'store'>,
  launcher: Launcher,
  placement: Placement & { taskId: TaskId },
): Promise<void> {
  const { taskId, launchId } = placement
  log.warn({ taskId, launchId, launcher: launcher.name }, 'stopping an orphan')
  try {
    await launcher.stop(placement, 'no task owns it')
  } catch (error) {
    log.error({ err: error, taskId, launchId }, 'cannot stop an orphan')
    throw error
  } finally {
    store.closeLaunch(launchId)
  }
}
