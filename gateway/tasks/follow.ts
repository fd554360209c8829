/**
 * Reads a task's events in order, from any point on, and waits for more. What wakes it carries no data: it reads the
 * store again, so nothing can be missed or come twice.
 */
import type { TaskEvent } from '../../protocol/event.ts'
import type { TaskId } from '../../protocol/ids.ts'
import type { Store } from '../store/store.ts'

/** Events read from the store at a time. */
const BATCH = 500

export interface FollowOptions {
  since: number
  /** Wait for more until the task has ended. */
  follow: boolean
  /** At most so many events. */
  limit: number | undefined
  signal: AbortSignal
  /** Something is yielded at least this often: an empty batch when there is nothing. */
  heartbeatMs: number
}

export async function* followEvents(store: Store, taskId: TaskId, options: FollowOptions): AsyncGenerator<TaskEvent[]> {
  let { since } = options
  let left = options.limit ?? Number.POSITIVE_INFINITY
  const bell = createBell(store, taskId)
  try {
    while (!options.signal.aborted && left > 0) {
      // Asked before the read: an event stored in between then rings for the next round.
      const hasEnded = (store.getTask(taskId)?.state ?? 'ended') === 'ended'
      const events = store.events(taskId, since, Math.min(BATCH, left))
      if (events.length > 0) {
        since = events.at(-1)?.seq ?? since
        left -= events.length
        yield events
        continue
      }
      if (hasEnded || !options.follow) return
      const rang = await bell.next(options.heartbeatMs, options.signal)
      if (!rang) yield []
    }
  } finally {
    bell.close()
  }
}

/** Remembers a ring that came while nobody waited. */
function createBell(store: Store, taskId: TaskId) {
  let hasRung = false
  let wake: (() => void) | undefined
  const close = store.onEvents((id) => {
    if (id !== taskId) return
    hasRung = true
    wake?.()
  })
  async function next(timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    if (!hasRung && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs)
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
        signal.addEventListener('abort', wake, { once: true })
      })
      if (wake) signal.removeEventListener('abort', wake)
      wake = undefined
    }
    const rang = hasRung
    hasRung = false
    return rang
  }
  return { next, close }
}
