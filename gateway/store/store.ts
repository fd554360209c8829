/**
 * What the gateway remembers. Calls are synchronous: SQLite answers in microseconds on a local disk, and a transaction
 * that cannot be interleaved is what compare-and-set and "publish only after commit" stand on.
 */
import type { AgentEvent, EventBody, TaskEvent } from '../../protocol/event.ts'
import type { GatewayId, LaunchId, PreviewId, TaskId, TokenId } from '../../protocol/ids.ts'
import type { TokenLimits } from '../../protocol/limits.ts'
import type { ModelSettings } from '../../protocol/model.ts'
import type { AuditRow, PreviewSession, Share, ShareAccess, Token } from '../../protocol/routes.ts'
import type {
  AgentName,
  Placement,
  Pruned,
  StateName,
  StopRequest,
  Task,
  TaskBase,
  TaskState,
  Turn,
} from '../../protocol/task.ts'

/** A change to one task and the events that tell of it, stored together or not at all. */
export interface TaskChange {
  state?: TaskState
  turns?: Turn[]
  /** Null takes an earlier request back, for a task that goes on. */
  stopRequested?: StopRequest | null
  workspace?: Task['workspace']
  usage?: Task['usage']
  /** Dollars to put on the account of the day besides what `usage` grew by. */
  chargeUsd?: number
  /** The token that asked for the newest turn. */
  tokenId?: TokenId
  pruned?: Pruned
  /** Of the machines that are gone. */
  machineCost?: Task['machineCost']
  events?: EventBody[]
}

export interface TaskFilter {
  /** Undefined: everybody's. */
  owner?: string | undefined
  /** Only those that are shared with this user. */
  sharedWith?: string | undefined
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
  /** Set when its launcher has vouched for the machine that the agent dials from; see `Launcher.vouch`. */
  vouchedAt?: string | undefined
  placement?: Placement | undefined
  /** What the launcher was asked, sealed; only until there is a placement, for a launch that is cut off. */
  request?: Buffer | undefined
  createdAt: string
  /** Set when the placement is confirmed gone; its credential is worth nothing from then on. */
  closedAt?: string | undefined
}

export interface StoredToken extends Token {
  hash: string
  /** Of the value before this one, taken until `previousUntil`. */
  previousHash?: string
}

export interface Rotation {
  hash: string
  at: string
  expiresAt: string | undefined
  previousUntil: string
}

/** A way to a model that a user keeps here. */
export interface StoredModel {
  owner: string
  name: string
  settings: ModelSettings
  secretNames: string[]
  /** The secrets, when there are any; see the vault. */
  sealed?: Buffer
  isDefault: boolean
  createdAt: string
}

export interface NewTask {
  task: TaskBase & TaskState
  tokenId?: TokenId | undefined
  secrets: Buffer | undefined
  idempotency?: { key: string; requestHash: string } | undefined
  events: EventBody[]
}

/** A task that is stopped when its client is gone for so long. */
export interface Lease {
  taskId: TaskId
  graceSeconds: number
}

/** What the queue needs to know of a task that waits to be launched. */
export interface Waiting {
  id: TaskId
  owner: string
  tokenId: TokenId | undefined
  agent: AgentName
  /** What the task asked for. */
  budgetUsd: number | undefined
  notBefore: string | undefined
}

/** A task that counts against the limits on tasks that run: launching, starting, running or finishing. */
export interface Taken {
  owner: string
  tokenId: TokenId | undefined
  /** What its turn may still cost. */
  reservedUsd: number
}

/** What was spent on one day by one user with one token; undefined for tasks of which it is not known. */
export interface Spent {
  owner: string
  tokenId: TokenId | undefined
  usd: number
}

/** An ended task, and what the database holds of it. */
export interface EndedTask {
  id: TaskId
  owner: string
  endedAt: string
  outcome: string
  eventBytes: number
  isPruned: boolean
  /** Where a list goes on behind it. */
  cursor: string
}

export interface EndedFilter {
  owner?: string | undefined
  outcome?: string | undefined
  /** Ended before this. */
  before?: string | undefined
  /** Leaves out those whose workspaces are gone. */
  onlyUnpruned?: boolean | undefined
  limit: number
  cursor?: string | undefined
}

export interface Tombstone extends Pruned {
  owner: string
}

/** A browser that was let in, and by which value of a token. */
export interface StoredPreview extends PreviewSession {
  secretHash: string
  taskId: TaskId
  tokenHash: string
}

export interface Store {
  readonly gatewayId: GatewayId

  insertTask(task: NewTask): Task
  /** The task that an earlier request with this key made. */
  findIdempotent(owner: string, key: string): { taskId: TaskId; requestHash: string } | undefined
  getTask(taskId: TaskId): Task | undefined
  listTasks(filter: TaskFilter): { tasks: Task[]; nextCursor?: string }
  countTasks(state: StateName): number
  /** Those of one user, their workspaces there or not. */
  countQueued(owner: string): number
  /** Tasks that wait to be launched, oldest first. */
  waitingTasks(): Waiting[]
  takenTasks(): Taken[]
  /** @param day as `utcDay` gives it */
  spentOn(day: string): Spent[]
  /** With which token the newest turn was asked for. */
  tokenOf(taskId: TaskId): TokenId | undefined
  /** Of those tokens that have any, revoked ones included. */
  tokenLimits(): Map<TokenId, TokenLimits>
  /** Ids of all tasks that have not ended, oldest first. Whoever looks at each should not read all of them at once. */
  activeTaskIds(): TaskId[]
  /**
   * Compare-and-set: `decide` sees the task as it is now and answers with the change, or with undefined when it no
   * longer applies. Nothing can come between the look and the change.
   * @returns the changed task, or undefined when nothing was changed
   */
  changeTask(taskId: TaskId, decide: (task: Task) => TaskChange | undefined): Task | undefined
  deleteTask(taskId: TaskId): void
  /** Ended tasks, those that ended first first. */
  endedTasks(filter: EndedFilter): EndedTask[]
  /** What the events of all tasks take, in bytes. */
  totalEventBytes(): number
  /** Deletes an ended task and remembers that it was. @returns false when it goes on meanwhile */
  buryTask(taskId: TaskId, pruned: Pruned): boolean
  tombstone(taskId: TaskId): Tombstone | undefined
  dropTombstones(before: string): void

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

  /** Those that nobody has dropped yet. */
  leases(): Lease[]
  dropLease(taskId: TaskId): void

  /** Encrypted secrets that were not delivered yet. */
  sealedSecrets(taskId: TaskId): Buffer | undefined
  putSecrets(taskId: TaskId, sealed: Buffer): void
  dropSecrets(taskId: TaskId): void

  insertLaunch(launch: Launch): void
  getLaunch(launchId: LaunchId): Launch | undefined
  setRequest(launchId: LaunchId, request: Buffer): void
  setPlacement(launchId: LaunchId, placement: Placement): void
  /**
   * Exchanges the join code for the credential. True also when this very exchange was made before (its answer was
   * lost); false when the code was burnt by another credential.
   */
  bindCredential(launchId: LaunchId, credentialHash: string): boolean
  setVouched(launchId: LaunchId): void
  closeLaunch(launchId: LaunchId): void
  /** Of all launches that are not closed. */
  openPlacements(): Placement[]

  listShares(taskId: TaskId): Share[]
  getShare(taskId: TaskId, user: string): ShareAccess | undefined
  putShare(taskId: TaskId, share: Share): void
  dropShare(taskId: TaskId, user: string): void

  /** Those whose time is over go. */
  insertPreview(preview: StoredPreview): void
  findPreview(secretHash: string): StoredPreview | undefined
  listPreviews(taskId: TaskId): StoredPreview[]
  deletePreview(id: PreviewId): void

  insertToken(token: StoredToken): void
  /** By its value, or by the one before it, whether that is still taken or not. */
  findToken(hash: string): StoredToken | undefined
  listTokens(): StoredToken[]
  getToken(tokenId: TokenId): StoredToken | undefined
  /** @returns undefined when there is no such token, or it was revoked */
  rotateToken(tokenId: TokenId, rotation: Rotation): StoredToken | undefined
  revokeToken(tokenId: TokenId, at: string): boolean

  /** Makes or replaces it; a new default is the only one of its owner. */
  putModel(model: StoredModel): void
  listModels(owner: string): StoredModel[]
  deleteModel(owner: string, name: string): boolean
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
