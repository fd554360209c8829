/**
 * What every launcher can do. A launcher knows machines, not tasks: no state, no store, no tunnel.
 * `test/conformance/launcher.ts` holds any launcher against what is promised here.
 */
import type { Finding } from '../../protocol/finding.ts'
import type { LaunchId, TaskId } from '../../protocol/ids.ts'
import type { Machine, Offers } from '../../protocol/machine.ts'
import type { Reason } from '../../protocol/outcome.ts'
import type { ForeignPlacement } from '../../protocol/routes/placements.ts'
import { AGENT_ENV } from '../../protocol/run.ts'
import type { AgentName, Placement } from '../../protocol/task.ts'

export interface LaunchSpec {
  launchId: LaunchId
  taskId: TaskId
  /** Where the agent dials. */
  gatewayUrl: string
  /** One time, for this launch only. All else travels down the tunnel. */
  joinCode: string
  agent: AgentName
  /** Within what the launcher offers: all of that is named, nothing else is. */
  machine: Machine
}

export interface LaunchOptions {
  /** Fires at the launcher's deadline. What was started all the same is in `list`, until it is stopped. */
  signal: AbortSignal
  /** What is under way, for who waits: `pulling the image, 40 %`. Each is stored, so at most about one a second. */
  progress(text: string): void
  /** What is other than was asked for, and stays in the task's log: `no Spot capacity, Fargate at its full price instead`. */
  warn(text: string): void
  /**
   * Keeps a note, encrypted and on the disk when this returns, for the case that this call is cut off: the request
   * exactly as it is sent next, with the token that makes its repetition harmless. The last note counts.
   */
  keep(note: unknown): void
  /** The note of the call that was cut off; undefined when this is the first call, or nothing was kept. */
  kept: unknown
}

export type PlacementStatus =
  /**
   * It waits for a machine, or for its image; `detail` says for what, for people, `paidFrom` as in `Placement`. Where
   * `isCutOff`, its launch was ended in the middle, and nothing goes on until it is asked for again.
   */
  | { status: 'pending'; detail?: string; paidFrom?: string; isCutOff?: true }
  /** `since` is when it began to, where that is known; `engineEnded` why the task's Docker engine did, without which it goes on. */
  | { status: 'running'; since?: string; paidFrom?: string; engineEnded?: string }
  /** It has ended; `detail` is what the launcher knows of why, for people. */
  | {
      status: 'stopped' | 'gone'
      detail?: string
      /** Of the agent, where that is known. */
      exitCode?: number
      /** What the machine is paid for, where that is less than its time: AWS asks nothing for the wait for one. */
      paidSeconds?: number
      reason?: Extract<Reason, 'placement_gone' | 'infrastructure'>
    }

/** What a launcher says of an agent that wants to be let in. */
export type Vouching =
  /** Its machine is the one of this placement, and runs. */
  | 'yes'
  /** It may be: the machine does not run yet, or no longer, or is not shown. */
  | 'not_yet'
  /** It dials from elsewhere, or its machine has ended. */
  | 'no'

export interface Launcher {
  readonly name: string
  /** What keeps the work apart from the machine. */
  readonly isolation: 'none' | 'container'
  readonly offers: Offers
  /** Where these have no `docker`: why, and what to do. */
  readonly whyNoDocker?: string
  /** In seconds: until the machine runs, and from then on until the agent has dialled. Without: the gateway's `deadlines`. */
  readonly deadlines?: { launch: number; dial: number }
  /**
   * Finer rules than those of `offers`, asked before a task is let in.
   * @throws RclaudeError `invalid` with what can be had instead
   */
  check?(machine: Machine): void
  /**
   * The placement says its price (`usdPerHour`) where that is known. Idempotent by `launchId`: called again, by a gateway that was killed in the middle of it, it gives the placement that
   * is there, or goes on where it was.
   * @throws RclaudeError `unavailable` when no machine can be had now, nothing was started and trying again later may
   *   help (the task is queued again); anything else when it will not
   */
  launch(spec: LaunchSpec, options: LaunchOptions): Promise<Placement>
  /** In one batch; every placement asked for is in the answer, and one that nobody knows is `gone`. */
  inspect(placements: Placement[]): Promise<Map<LaunchId, PlacementStatus>>
  /**
   * Is the agent that dials with the join code of this placement on its machine? Asked until it is a yes, before anything is told to
   * the agent, and never again. Without this the join code alone counts.
   * @param claim what the agent says its machine is called (agent/machine.ts): a claim, no proof
   */
  vouch?(placement: Placement, claim: string | undefined): Promise<Vouching>
  /** Idempotent; resolves when it is gone, with nothing of it left behind. Another gateway's are never touched. */
  stop(placement: Placement, reason: string): Promise<void>
  /** Can this launcher do its work? What it needs, each with what was found; nothing is launched. */
  diagnose?(): Promise<Finding[]>
  /** What other gateways run in the same place, for people: nothing here ever stops it. */
  listForeign?(): Promise<Array<Omit<ForeignPlacement, 'launcher'>>>
  /** Everything that this gateway ever launched and of which anything is left: a machine, or files to clean up. */
  list(): Promise<Array<Placement & { taskId: TaskId }>>
}

/** What an agent must find in its environment; where its folder is (`AGENT_ENV.directory`), each launcher says besides. */
export const agentEnvironment = (spec: LaunchSpec): Record<string, string> => ({
  [AGENT_ENV.gatewayUrl]: spec.gatewayUrl,
  [AGENT_ENV.taskId]: spec.taskId,
  [AGENT_ENV.launchId]: spec.launchId,
  [AGENT_ENV.joinCode]: spec.joinCode,
})

export const CONTAINER_DIRECTORY = '/rclaude'

/** In a container the agent keeps state, workspace and home in the container's own layer: gone with it. */
export const containerEnvironment = (spec: LaunchSpec): Record<string, string> => ({
  ...agentEnvironment(spec),
  [AGENT_ENV.directory]: CONTAINER_DIRECTORY,
})
