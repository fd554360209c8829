/** How long a forward goes on: until Ctrl-C, or the task's end. */
import { setTimeout as pause } from 'node:timers/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import type { Task } from '../../protocol/task.ts'
import type { Gateway } from '../api.ts'
import { followEvents } from '../follow.ts'

const LOOK_MS = 500

/**
 * Waits for a task that has not started yet.
 * @throws {RclaudeError} `gone` for one that has ended
 */
export async function untilReachable(
  { client }: Gateway,
  taskId: string,
  signal: AbortSignal,
  onWait: (state: string) => void,
): Promise<Task> {
  let said: string | undefined
  for (;;) {
    const task = await client.call(routes.getTask, { params: { taskId }, signal })
    if (task.state === 'ended' || task.state === 'finishing')
      throw new RclaudeError(
        'gone',
        `task ${taskId} ${task.state === 'ended' ? `has ended (${task.outcome})` : 'is ending'}: there is no machine with ports; run rclaude continue or retry, with --keep`,
      )
    if (task.state === 'running') return task
    if (said !== task.state) onWait(task.state)
    said = task.state
    await pause(LOOK_MS, undefined, { signal })
  }
}

/** Resolves with the task when it has ended, whatever the way to it goes through meanwhile. */
export async function untilEnded({ client }: Gateway, task: Task, signal: AbortSignal): Promise<Task> {
  for await (const _ of followEvents(client, task.id, { since: task.lastSeq, signal })) {
    // only the end matters
  }
  return client.call(routes.getTask, { params: { taskId: task.id }, signal })
}
