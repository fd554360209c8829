/** What is said of a task whose files were deleted to make room. */
import { RclaudeError } from '../../protocol/errors.ts'
import type { Task } from '../../protocol/task.ts'

/** @throws RclaudeError `gone` when the task's workspace and artifacts were deleted */
export function mustHaveFiles(task: Task): void {
  if (task.pruned === undefined) return
  throw new RclaudeError(
    'gone',
    `the workspace and the artifacts of task ${task.id} were deleted at ${task.pruned.at} (${task.pruned.by}); its log and transcript are there`,
  )
}
