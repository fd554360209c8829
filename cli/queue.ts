/** Where a task stands in the queue, in words: `3rd; limits.maxTasksPerUser`. */
import type { Task } from '../protocol/task.ts'

/** Undefined unless a limit keeps the task waiting. */
export function placeText(task: Task): string | undefined {
  if (task.state !== 'queued' || task.limit === undefined || task.position === undefined) return undefined
  return `${ordinal(task.position)}; ${task.limit}`
}

export function ordinal(value: number): string {
  const isTeen = Math.floor(value / 10) % 10 === 1
  const ending = isTeen ? 'th' : (['th', 'st', 'nd', 'rd'][value % 10] ?? 'th')
  return `${value}${ending}`
}
