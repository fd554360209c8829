/** An agent came, or went. */
import type { TaskId } from '../../protocol/ids.ts'
import type { TaskState } from '../../protocol/task.ts'
import type { AgentLink } from '../tunnels/links.ts'
import { isoNow, type TaskContext } from './context.ts'
import { stateOf } from './create.ts'
import { record } from './recorder.ts'

export interface ConnectionContext extends TaskContext {
  /** Serves the streams that the agent opens. */
  serveAgent(link: AgentLink): void
}

export function connected(context: ConnectionContext, link: AgentLink): void {
  context.links.attach(link)
  context.serveAgent(link)
  setOnline(context, link.taskId, link, true)
  context.log.info({ taskId: link.taskId, launchId: link.launchId }, 'agent connected')
  void record(context, link)
  void link.tunnel.closed.then((reason) => {
    context.log.info({ taskId: link.taskId, launchId: link.launchId, reason }, 'agent disconnected')
    if (context.links.detach(link)) setOnline(context, link.taskId, link, false)
  })
  context.wake(link.taskId)
}

function setOnline(context: TaskContext, taskId: TaskId, link: AgentLink, online: boolean): void {
  context.store.changeTask(taskId, (task) => {
    const connection = { online, since: isoNow(), ...link.peer }
    if (task.state === 'starting' && online && task.placement.launchId === link.launchId)
      return {
        state: { state: 'running', placement: task.placement, connection, since: isoNow() },
        events: [
          { type: 'step', step: 'start', status: 'done', durationMs: Date.now() - Date.parse(task.since) },
          { type: 'state', state: 'running' },
        ],
      }
    if (task.state !== 'running' || task.placement.launchId !== link.launchId || task.connection.online === online)
      return undefined
    const state = stateOf(task) as Extract<TaskState, { state: 'running' }>
    return { state: { ...state, connection }, events: [{ type: 'connection', online }] }
  })
}
