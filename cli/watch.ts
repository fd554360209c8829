/**
 * Watches a task to its end: events into the view, Ctrl-C handled, the closing block, and the outcome as exit code.
 * `run`, `attach`, `continue` and `retry` all end in this.
 */
import { EXIT_CODES } from '../protocol/errors.ts'
import { routes } from '../protocol/routes.ts'
import type { Task } from '../protocol/task.ts'
import type { Gateway } from './api.ts'
import { followEvents } from './follow.ts'
import { type Leave, onInterrupt } from './interrupt.ts'
import type { Lease } from './lease.ts'
import { watchQueue } from './queue.ts'
import type { RunView } from './run-view.ts'
import { exitCodeOfTask, isKept } from './summary.ts'
import type { World } from './world.ts'

export interface WatchOptions {
  /** Events up to this number are left out. */
  since?: number
  /** What a signal means where nobody can be asked. */
  unasked: 'stop' | 'detach'
  /** Given up when the user leaves the task on purpose. */
  lease?: Lease | undefined
}

/** @returns the exit code */
export async function watch(
  world: World,
  gateway: Gateway,
  taskId: string,
  view: RunView,
  options: WatchOptions,
): Promise<number> {
  const leaving = new AbortController()
  let left: Leave | undefined
  const remove = onInterrupt(world, {
    unasked: options.unasked,
    stop: () => stop(gateway, taskId, view),
    leave: (how) => {
      left ??= how
      leaving.abort()
    },
    pause: () => view.pause(),
    resume: () => view.resume(),
  })
  try {
    await view.begin(taskId)
    const task = await follow(gateway, taskId, view, { since: options.since ?? 0, signal: leaving.signal })
    await view.summary(task)
    return exitCodeOfTask(task)
  } catch (error) {
    if (left === undefined) throw error
    await view.resume()
    const { lease } = options
    const byUser = left.kind === 'detached' && left.byUser
    if (byUser) await lease?.release().catch((cause: unknown) => view.warn(stillHeld(cause)))
    if (lease === undefined || byUser) await view.note(`detached; the task goes on: rclaude attach ${taskId}`)
    else await view.note(`left; the gateway stops ${taskId} in ${lease.grace} (--on-disconnect)`)
    return left.kind === 'killed' ? left.exitCode : EXIT_CODES.succeeded
  } finally {
    remove()
    await view.close()
  }
}

/** To the end of the task, or of its newest turn when it is kept after that. */
async function follow(
  { client }: Gateway,
  taskId: string,
  view: RunView,
  options: { since: number; signal: AbortSignal },
): Promise<Task> {
  const getTask = () => client.call(routes.getTask, { params: { taskId }, signal: options.signal })
  const queue = watchQueue(getTask, (place) => view.queued(place))
  let endedTurn = 0
  try {
    for await (const event of followEvents(client, taskId, options)) {
      await view.event(event)
      if (event.type === 'state') queue.sees(event.state === 'queued')
      if (event.type === 'turn_ended') endedTurn = event.turn
      // The gateway says so when it keeps a task whose turn is done; earlier turns of a log that is read again don't count.
      if (event.type !== 'state' || event.state !== 'running' || event.outcome === undefined) continue
      const task = await getTask()
      if (isKept(task) && task.turns.length === endedTurn) return task
    }
    return await getTask()
  } finally {
    queue.stop()
  }
}

const stillHeld = (cause: unknown): string =>
  `the gateway could not be told that you left on purpose, and may stop the task as --on-disconnect says (${cause instanceof Error ? cause.message : String(cause)})`

async function stop({ client }: Gateway, taskId: string, view: RunView): Promise<void> {
  await view.note('stopping; what the task has done so far is saved first')
  try {
    await client.call(routes.stopTask, { params: { taskId }, body: { reason: 'stopped with Ctrl-C or a signal' } })
  } catch (error) {
    await view.warn(`could not stop it: ${error instanceof Error ? error.message : String(error)}`)
  }
}
