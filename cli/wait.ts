/** Waits until a task has ended. */
import type { Client } from '../protocol/client.ts'
import { routes } from '../protocol/routes.ts'
import type { Task } from '../protocol/task.ts'
import { followEvents } from './follow.ts'

export async function untilEnded(client: Client, task: Task): Promise<Task> {
  if (task.state === 'ended') return task
  for await (const _ of followEvents(client, task.id, { since: task.lastSeq })) {
    // only the end matters
  }
  return client.call(routes.getTask, { params: { taskId: task.id } })
}
