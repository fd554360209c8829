/** Tasks as they stand at this moment: what is stored, and beside it what only the running gateway knows. */
import type { Task } from '../../protocol/task.ts'
import { withMachineCost } from '../tasks/machine-cost.ts'
import { withPlaces } from '../tasks/queue.ts'
import type { Deps } from './context.ts'

/** With the place in the queue, the tunnel, and what the machine costs. */
export const atPresent = (deps: Deps, tasks: Task[]): Task[] =>
  withPlaces(deps, tasks).map((task) => withMachineCost(withTunnel(deps, task)))

export function withTunnel(deps: Deps, task: Task): Task {
  if (task.state !== 'running') return task
  const tunnel = deps.links.ofLaunch(task.placement.launchId)?.tunnel
  return tunnel === undefined ? task : { ...task, connection: { ...task.connection, tunnel: tunnel.stats() } }
}
