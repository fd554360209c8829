/**
 * An agent came, or went. A connection that is lost and replaced soon is neither: the tunnel and all on it go on. Only when
 * it takes longer does the task say that its agent is offline, and online again when the tunnel goes on after all.
 */
import type { LaunchId, TaskId } from '../../protocol/ids.ts'
import { stateOf, type Task, type TaskState } from '../../protocol/task.ts'
import type { Metrics } from '../metrics.ts'
import type { AgentLink } from '../tunnels/links.ts'
import { isoNow, type TaskContext } from './context.ts'
import { record } from './recorder.ts'

/** So long a connection may be missing before the task says that its agent is offline. */
const OFFLINE_AFTER_MS = 5_000

export interface ConnectionContext extends TaskContext {
  /** Serves the streams that the agent opens. */
  serveAgent(link: AgentLink): void
  metrics: Pick<Metrics, 'tunnelOpened' | 'tunnelClosed'>
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
  context.metrics.tunnelOpened()
  context.log.info({ taskId: link.taskId, launchId: link.launchId }, 'agent connected')
  void record(context, link)
  watchAttachment(context, link)
  void link.tunnel.closed.then((reason) => {
    const { taskId, launchId } = link
    context.metrics.tunnelClosed(reason.kind)
    context.log.info({ taskId, launchId, reason, ...link.tunnel.stats() }, 'agent disconnected')
    if (context.links.detach(link)) setOffline(context, link)
  })
  context.wake(link.taskId)
}

function watchAttachment(context: ConnectionContext, link: AgentLink): void {
  const { taskId, launchId, tunnel } = link
  let timer: NodeJS.Timeout | undefined
  tunnel.onAttachment((isAttached) => {
    clearTimeout(timer)
    context.log.debug(
      { taskId, launchId, ...tunnel.stats() },
      isAttached ? 'the tunnel goes on over a new connection' : 'the tunnel lost its connection',
    )
    if (isAttached) {
      setOnlineAgain(context, link)
      context.wake(taskId)
    } else timer = setTimeout(() => setOffline(context, link), OFFLINE_AFTER_MS)
  })
  void tunnel.closed.then(() => clearTimeout(timer))
}

function setOnlineAgain(context: ConnectionContext, link: AgentLink): void {
  try {
    setOnline(context, link)
  } catch (error) {
    context.log.warn({ err: error, taskId: link.taskId }, 'cannot store that the agent is connected again')
  }
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
