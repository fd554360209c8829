/** An agent came, or went. */
import type { LaunchId, TaskId } from '../../protocol/ids.ts'
import { stateOf, type Task, type TaskState } from '../../protocol/task.ts'
import type { AgentLink } from '../tunnels/links.ts'
import { isoNow, type TaskContext } from './context.ts'
import { record } from './recorder.ts'

export interface ConnectionContext extends TaskContext {
  /** Serves the streams that the agent opens. */
  serveAgent(link: AgentLink): void
}

export function connected(context: ConnectionContext, link: AgentLink): void {
  context.links.attach(link)
  context.serveAgent(link)
  try {
    setOnline(context, link)
  } catch (error) {
    // What cannot be stored has not happened: the agent dials again.
    context.links.detach(link)
    context.log.warn({ err: error, taskId: link.taskId }, 'cannot store that the agent is connected')
    link.close('the gateway cannot take agents at the moment')
    return
  }
  context.log.info({ taskId: link.taskId, launchId: link.launchId }, 'agent connected')
  void record(context, link)
  void link.tunnel.closed.then((reason) => {
    context.log.info({ taskId: link.taskId, launchId: link.launchId, reason }, 'agent disconnected')
    if (context.links.detach(link)) setOffline(context, link)
  })
  context.wake(link.taskId)
}

function setOnline(context: TaskContext, link: AgentLink): void {
  const { taskId, launchId, peer } = link
  context.store.changeTask(taskId, (task) => {
    const connection = { online: true, since: isoNow(), ...peer }
    if (task.state === 'starting' && task.placement.launchId === launchId)
      return {
        state: { state: 'running', placement: task.placement, connection, since: isoNow() },
        events: [
          { type: 'step', step: 'start', status: 'done', durationMs: Date.now() - Date.parse(task.since) },
          { type: 'state', state: 'running' },
        ],
      }
    if (task.state !== 'running' || task.placement.launchId !== launchId || task.connection.online) return undefined
    return { state: { ...running(task), connection }, events: [{ type: 'connection', online: true }] }
  })
}

/** Also for a connection that an earlier gateway, or a full disk, left written down as open: the reconciler finds it. */
export function setOffline(context: TaskContext, { taskId, launchId }: { taskId: TaskId; launchId: LaunchId }): void {
  try {
    context.store.changeTask(taskId, (task) => {
      if (task.state !== 'running' || task.placement.launchId !== launchId || !task.connection.online) return undefined
      const connection = { ...task.connection, online: false, since: isoNow() }
      return { state: { ...running(task), connection }, events: [{ type: 'connection', online: false }] }
    })
  } catch (error) {
    context.log.warn({ err: error, taskId }, 'cannot store that the agent is disconnected')
  }
}

type Running = Extract<TaskState, { state: 'running' }>
const running = (task: Task): Running => stateOf(task) as Running
