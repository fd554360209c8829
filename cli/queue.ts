/** Where a task stands in the queue, in words: `3rd; limits.maxTasksPerUser`. */
import type { Task } from '../protocol/task.ts'

/** Most tasks leave the queue at once. */
const FIRST_QUEUE_LOOK_MS = 500
const QUEUE_LOOK_MS = 2_000

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

/** While a task is queued, asks now and then where it stands. What cannot be asked is not worth a word. @param tell undefined: no limit keeps it */
export function watchQueue(getTask: () => Promise<Task>, tell: (place: string | undefined) => Promise<void>) {
  let timer: NodeJS.Timeout | undefined
  const stop = () => {
    clearTimeout(timer)
    timer = undefined
  }
  const look = async () => {
    const task = await getTask().catch(() => undefined)
    if (timer === undefined) return
    if (task !== undefined) await tell(placeText(task)).catch(() => {}) // whoever writes next meets it too
    if (timer !== undefined) timer = setTimeout(look, QUEUE_LOOK_MS)
  }
  return {
    stop,
    sees(isQueued: boolean): void {
      stop()
      if (isQueued) timer = setTimeout(look, FIRST_QUEUE_LOOK_MS)
    },
  }
}
