import type { TaskId } from '../../protocol/ids.ts'
import type { Task } from '../../protocol/task.ts'
import type { TaskContext } from './context.ts'

/** Undefined as well when its row is damaged, which is logged: one such row must not keep the others from being looked at. */
export function readable({ store, log }: Pick<TaskContext, 'store' | 'log'>, taskId: TaskId): Task | undefined {
  try {
    return store.getTask(taskId)
  } catch (error) {
    log.error({ err: error, taskId }, 'the row of a task cannot be read')
    return undefined
  }
}
