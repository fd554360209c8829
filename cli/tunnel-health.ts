/** How the tunnel to a task's agent is doing, in words. */
import type { TunnelHealth } from '../protocol/connection.ts'
import type { Task } from '../protocol/task.ts'
import { formatBytes } from '../protocol/units.ts'
import { count } from './output.ts'

export const tunnelOf = (task: Task): TunnelHealth | undefined =>
  task.state === 'running' ? task.connection.tunnel : undefined

/** Empty when it is not known. */
export function rttText(tunnel: TunnelHealth | undefined): string {
  if (tunnel?.rttMs === undefined) return ''
  return tunnel.rttMs < 10 ? `${tunnel.rttMs.toFixed(1)}ms` : `${Math.round(tunnel.rttMs)}ms`
}

/** One line for `show`; undefined while there is no tunnel. */
export function tunnelText(tunnel: TunnelHealth | undefined): string | undefined {
  if (tunnel === undefined) return undefined
  const rtt = rttText(tunnel)
  return [
    tunnel.isAttached ? 'connected' : 'connection lost, waiting for the agent',
    rtt === '' ? undefined : `round trip ${rtt}`,
    count(tunnel.streams, 'stream'),
    `${formatBytes(tunnel.bytesInFlight)} in flight`,
    `${formatBytes(tunnel.bytesReceived)} received`,
    `${formatBytes(tunnel.bytesSent)} sent`,
    count(tunnel.resumes, 'resume'),
    count(tunnel.resets, 'reset'),
  ]
    .filter((part) => part !== undefined)
    .join(', ')
}
