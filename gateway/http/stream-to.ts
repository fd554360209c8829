/** The way to a task's agent, for requests and upgrades. */
import { RclaudeError } from '../../protocol/errors.ts'
import type { Task } from '../../protocol/task.ts'
import type { TunnelStream } from '../../tunnel/stream.ts'
import type { Deps } from './context.ts'

/**
 * A fresh stream to the task's agent. An agent that should be there is waited for.
 * @throws RclaudeError `limit`, or `agent_offline` or `gone` in the words that fit the task's state
 */
export async function streamTo(deps: Deps, task: Task): Promise<TunnelStream> {
  const link = task.state === 'running' ? await deps.links.whenLinked(task.id) : undefined
  if (link !== undefined) return link.open()
  const now = deps.store.getTask(task.id) ?? task
  if (now.state === 'ended')
    throw new RclaudeError(
      'gone',
      `task ${now.id} ended at ${now.endedAt} (${now.outcome}); its machine is gone. Start it again with: rclaude retry ${now.id}`,
    )
  const wait = now.state === 'running' ? 'its agent is not connected at the moment' : `it is ${now.state}`
  throw new RclaudeError('agent_offline', `task ${now.id} cannot be reached: ${wait}`, { retryAfterSeconds: 1 })
}
