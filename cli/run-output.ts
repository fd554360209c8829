/** Lines of `--json` that are not events; the format is told in protocol/run-output.ts. */
import { RUN_OUTPUT_EDITION } from '../protocol/run-output.ts'
import type { Task } from '../protocol/task.ts'
import { VERSION } from '../protocol/version.ts'
import { safeJson } from './neutralise.ts'

export const startLine = (taskId: string): string =>
  safeJson({ type: 'run', schema: RUN_OUTPUT_EDITION, taskId, version: VERSION })

/** @param exitCode when the task was watched to its end */
export const taskLine = (task: Task, exitCode?: number): string =>
  safeJson({ type: 'task', schema: RUN_OUTPUT_EDITION, task, ...(exitCode !== undefined && { exitCode }) })
