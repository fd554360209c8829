/**
 * What the gateway remembers. Calls are synchronous: SQLite answers in microseconds on a local disk, and a transaction
 * that cannot be interleaved is what compare-and-set and "publish only after commit" stand on.
 */
import type { AgentEvent, EventBody, TaskEvent } from '../../protocol/event.ts'
import type { GatewayId, LaunchId, TaskId, TokenId } from '../../protocol/ids.ts'
import type { AuditRow, Token } from '../../protocol/routes.ts'
import type { Placement, StateName, StopRequest, Task, TaskBase, TaskState, Turn } from '../../protocol/task.ts'

/** A change to one task and the events that tell of it, stored together or not at all. */
export interface TaskChange {
  state?: TaskState
  turns?: Turn[]
  /** Null takes an earlier request back, for a task that goes on. */
  stopRequested?: StopRequest | null
  workspace?: Task['workspace']
  usage?: Task['usage']
  events?: EventBody[]
}

export interface TaskFilter {
  /** Undefined: everybody's. */
  owner?: string | undefined
  state?: StateName | 'active' | undefined
  label?: { name: string; value?: string | undefined } | undefined
  limit: number
  cursor?: string | undefined
}

export interface Launch {
  launchId: LaunchId
  taskId: TaskId
  launcher: string
  joinHash: string
  /** Set when the join code has been exchanged. */
  credentialHash?: string | undefined
  placement?: Placement | undefined
  createdAt: string
  /** Set when the placement is confirmed gone; its credential is worth nothing from then on. */
  closedAt?: string | undefined
}

export interface StoredToken extends Token {
  hash: string
}

export interface NewTask {
  task: TaskBase & TaskState
  secrets: Buffer | undefined
  idempotency?: { key: string; requestHash: string } | undefined
  events: EventBody[]
}

export interface Store {
  readonly gatewayId: GatewayId

  insertTask(task: NewTask): Task
  /** The task that an earlier request with this key made. */
  findIdempotent(owner: string, key: string): { taskId: TaskId; requestHash: string } | undefined
  getTask(taskId: TaskId): Task | undefined
  listTasks(filter: TaskFilter): { tasks: Task[]; nextCursor?: string }
  countTasks(state: StateName): number
  /** Tasks that wait, oldest first. */
  queuedTasks(): Task[]
  /** Ids of all tasks that have not ended, oldest first. Whoever looks at each should not read all of them at once. */
  activeTaskIds(): TaskId[]
  /**
   * Compare-and-set: `decide` sees the task as it is now and answers with the change, or with undefined when it no
   * longer applies. Nothing can come between the look and the change.
   * @returns the changed task, or undefined when nothing was changed
   */
  changeTask(taskId: TaskId, decide: (task: Task) => TaskChange | undefined): Task | undefined
  deleteTask(taskId: TaskId): void

  /** Events after `since`, oldest first. */
  events(taskId: TaskId, since: number, limit: number): TaskEvent[]
  /**
   * Stores what the agent said, once: what was stored before is skipped. `decide` makes the changes to the task that
   * follow from the new events, in the same transaction.
   */
  recordEvents(
    launchId: LaunchId,
    events: AgentEvent[],
    decide: (task: Task, fresh: AgentEvent[]) => TaskChange | undefined,
  ): Task | undefined
  lastAgentSeq(launchId: LaunchId): number
  eventBytes(taskId: TaskId): number

  /** Encrypted secrets that were not delivered yet. */
  sealedSecrets(taskId: TaskId): Buffer | undefined
  putSecrets(taskId: TaskId, sealed: Buffer): void
  dropSecrets(taskId: TaskId): void

  insertLaunch(launch: Launch): void
  getLaunch(launchId: LaunchId): Launch | undefined
  setPlacement(launchId: LaunchId, placement: Placement): void
  /**
   * Exchanges the join code for the credential. True also when this very exchange was made before (its answer was
   * lost); false when the code was burnt by another credential.
   */
  bindCredential(launchId: LaunchId, credentialHash: string): boolean
  closeLaunch(launchId: LaunchId): void
  /** Of all launches that are not closed. */
  openPlacements(): Placement[]

  insertToken(token: StoredToken): void
  findToken(hash: string): StoredToken | undefined
  listTokens(): StoredToken[]
  revokeToken(tokenId: TokenId, at: string): boolean
  touchToken(tokenId: TokenId, at: string): void

  /** @returns its id, with which `setAuditTask` names a task that was only made by the action */
  insertAudit(row: Omit<AuditRow, 'id'>): number
  setAuditTask(id: number, taskId: TaskId): void
  listAudit(filter: { taskId?: TaskId | undefined; limit: number; before?: number | undefined }): AuditRow[]

  /** Facts of this gateway, by name. */
  getMeta(name: string): string | undefined
  setMeta(name: string, value: string): void

  /** Called after each commit that stored events. */
  onEvents(listener: (taskId: TaskId) => void): () => void
  close(): void
}
