/** What every launcher can do. A launcher knows machines, not tasks: no state, no store, no tunnel. */
import type { LaunchId, TaskId } from '../../protocol/ids.ts'
import type { Reason } from '../../protocol/outcome.ts'
import type { Placement } from '../../protocol/task.ts'

export interface LaunchSpec {
  launchId: LaunchId
  taskId: TaskId
  /** Where the agent dials. */
  gatewayUrl: string
  /** One time, for this launch only. All else travels down the tunnel. */
  joinCode: string
}

export type PlacementStatus =
  | { status: 'pending' | 'running' }
  /** It has ended; `detail` is what the launcher knows of why, for people. */
  | { status: 'stopped' | 'gone'; detail?: string; reason?: Extract<Reason, 'placement_gone' | 'infrastructure'> }

export interface Launcher {
  readonly name: string
  /** What keeps the work apart from the machine. */
  readonly isolation: 'none' | 'container'
  /**
   * Idempotent by `launchId`.
   * @throws RclaudeError `unavailable` when no machine can be had now, nothing was started and trying again later may
   *   help (the task is queued again); anything else when it will not
   */
  launch(spec: LaunchSpec, options: { signal: AbortSignal }): Promise<Placement>
  /** In one batch; every placement asked for is in the answer. */
  inspect(placements: Placement[]): Promise<Map<LaunchId, PlacementStatus>>
  /** Idempotent; resolves when it is gone, with nothing of it left behind. */
  stop(placement: Placement, reason: string): Promise<void>
  /** Everything that this gateway ever launched and of which anything is left: a process, or files to clean up. */
  list(): Promise<Array<Placement & { taskId: TaskId }>>
}
