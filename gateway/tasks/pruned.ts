/** What is said of a task, or of its files, once they were deleted to make room. */
import { RclaudeError } from '../../protocol/errors.ts'
import type { TaskId } from '../../protocol/ids.ts'
import type { Pruned, Task } from '../../protocol/task.ts'

/** @throws RclaudeError `gone` when the task's workspace and artifacts were deleted */
export function mustHaveFiles(task: Task): void {
  if (task.pruned === undefined) return
  throw new RclaudeError(
    'gone',
    `the workspace and the artifacts of task ${task.id} were deleted at ${task.pruned.at} (${task.pruned.by}); its log and transcript are there`,
  )
}

export const goneTask = (taskId: TaskId, { at, by }: Pruned): RclaudeError =>
  new RclaudeError('gone', `task ${taskId} was deleted at ${at} with all it left (${by})`)
