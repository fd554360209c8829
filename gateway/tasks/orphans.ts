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

/** A stop may take minutes, and a launcher that has been told to stop a placement need not list it any more (ECS does not), paid for as it is. */
export interface StoppingOrphan {
  placement: Placement & { taskId: TaskId }
  /** Rejects with the launcher's error, which is in the log by then. */
  gone: Promise<void>
}

/** Whoever wants an orphan stopped that is being stopped waits for the same. */
export function stopOrphan(
  context: Pick<TaskContext, 'log' | 'store' | 'stoppingOrphans'>,
  launcher: Launcher,
  placement: StoppingOrphan['placement'],
): Promise<void> {
  const { launchId } = placement
  const known = context.stoppingOrphans.get(launchId)
  if (known !== undefined) return known.gone
  const gone = stop(context, launcher, placement).finally(() => context.stoppingOrphans.delete(launchId))
  gone.catch(() => {}) // it is in the log, and the next sweep tries again
  context.stoppingOrphans.set(launchId, { placement, gone })
  return gone
}

async function stop(
  { log, store }: Pick<TaskContext, 'log' | 'store'>,
  launcher: Launcher,
  placement: StoppingOrphan['placement'],
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
