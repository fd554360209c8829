/** What only the author of a launcher can say of it: how it is built, and what its machines look like from beside it. */
import type { Launcher, LaunchSpec } from '../../gateway/launchers/launcher.ts'
import type { TaskId } from '../../protocol/ids.ts'
import type { Placement } from '../../protocol/task.ts'

export interface Site {
  /** Built anew for this gateway, as after a restart: it remembers only what its machines, or files of its own, tell it. */
  launcher(gatewayId: string): Launcher | Promise<Launcher>
  /** Address to listen on, so that a placement reaches a server of the tests, and the host by which it does. */
  listen: string
  reach: string
  /** What is left of a launch, seen past the launcher: processes, containers, tasks that are not stopped, folders. */
  remains(launch: Pick<LaunchSpec, 'launchId' | 'taskId'>): Promise<string[]>
  /** Ends the agent of a placement from outside, as a crash of its machine would. */
  kill(placement: Placement & { taskId: TaskId }): Promise<void>
  close?(): Promise<void>
}

/** A string says why there is none here: the tests are skipped, and say so. */
export type MakeSite = () => Promise<Site | string>
