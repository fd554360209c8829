/** What the parts of the task life-cycle share. `server.ts` builds it. */
import type { GatewayConfig } from '../../protocol/config.ts'
import type { LaunchId, TaskId } from '../../protocol/ids.ts'
import type { Vault } from '../auth/vault.ts'
import type { Launcher } from '../launchers/launcher.ts'
import type { Logger } from '../log.ts'
import type { Store } from '../store/store.ts'
import type { AgentLinks } from '../tunnels/links.ts'
import type { Artifacts } from '../workspaces/artifacts.ts'
import type { Workspaces } from '../workspaces/workspaces.ts'
import type { StoppingOrphan } from './orphans.ts'
import type { Served } from './served.ts'

/** The steps of `finish.ts`, in order. */
export const FINISH_STEPS = ['hear_out', 'let_go', 'remove', 'collect', 'end'] as const
export type FinishStep = (typeof FINISH_STEPS)[number]

export interface TaskContext {
  store: Store
  config: GatewayConfig
  launchers: ReadonlyMap<string, Launcher>
  links: AgentLinks
  workspaces: Workspaces
  artifacts: Artifacts
  vault: Vault
  log: Logger
  /** When this gateway began, in ms since the epoch: what passed before is on nobody's account. */
  startedAtMs: number
  /** Whose turn it was last, for a queue that is fair. */
  served: Served
  /** Launches whose agents have dialled, and wait since their launcher does not say whether it is them: when they dialled last. */
  heldUp: Map<LaunchId, number>
  /** Orphans that are being stopped: see `orphans.ts`. */
  stoppingOrphans: Map<LaunchId, StoppingOrphan>
  /** Where agents dial; known once the gateway listens. */
  agentUrl(): string
  /** Environment that the gateway itself gives to tasks of this coding agent. */
  gatewayEnvironment(agent: string): Record<string, string>
  /** Of the gateway's own environment, those of these variables that are set. */
  gatewaySecrets(names: readonly string[]): Record<string, string>
  /** `fetch` for what is at this address, through the proxy that the gateway's environment names. */
  fetchFor(url: string): typeof fetch
  /** Why this gateway must neither launch nor stop anything yet, for people; undefined when it may. */
  held(): string | undefined
  /** Looks at this task, or at all, as soon as the present work is done. */
  wake(taskId?: TaskId): void
  /** Told before each step of a task's end. */
  onFinishStep?: ((step: FinishStep, taskId: TaskId) => void) | undefined
}

/** Has a deadline of so many seconds, which began at `since`, passed? */
export const isOver = (since: string, seconds: number, now = Date.now()): boolean =>
  Date.parse(since) + seconds * 1000 <= now

/** When a deadline ends. While there was no gateway nobody could meet it, so it begins anew with the gateway. */
export const deadlineOf = (context: TaskContext, since: string, seconds: number): number =>
  Math.max(Date.parse(since), context.startedAtMs) + seconds * 1000

export const isoNow = (): string => new Date().toISOString()
