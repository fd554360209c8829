/**
 * Tasks that are stopped when their client is gone (`onDisconnect`): a cancelled CI job must not leave work running that
 * nobody waits for. The client renews a lease; when it has not for the grace that the task was created with, the gateway
 * asks for a stop, as a user would.
 *
 * When a lease was last renewed is kept in memory: time in which this gateway did not run, or could not listen, is on
 * nobody's account, so each lease begins anew with the gateway. A connection says nothing here: of a machine that lost its
 * power it stays open for long, and a proxy in between may hold it for ever.
 */
import type { TaskId } from '../../protocol/ids.ts'
import type { Task } from '../../protocol/task.ts'
import { formatSeconds } from '../../protocol/units.ts'
import type { TaskContext } from './context.ts'
import { requestStop } from './requests.ts'

const CHECK_EVERY_MS = 1_000
/** A check that comes so late means that the gateway was held up itself: suspended, or without processor time. */
const HELD_UP_MS = 3_000

export class Leases {
  readonly #context: TaskContext
  readonly #now: () => number
  readonly #renewedAtMs = new Map<TaskId, number>()
  /** From when on renewals could be heard without a break. */
  #listeningSinceMs: number
  #checkedAtMs: number
  #timer: NodeJS.Timeout | undefined

  constructor(context: TaskContext, now: () => number = Date.now) {
    this.#context = context
    this.#now = now
    this.#listeningSinceMs = this.#checkedAtMs = now()
  }

  start(): void {
    this.#listeningSinceMs = this.#checkedAtMs = this.#now()
    this.#timer = setInterval(() => this.check(), CHECK_EVERY_MS).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  renew(taskId: TaskId): void {
    this.#renewedAtMs.set(taskId, this.#now())
  }

  /** The client left on purpose, or is not needed any more: the task goes on. */
  release(taskId: TaskId): void {
    this.#context.store.dropLease(taskId)
    this.#renewedAtMs.delete(taskId)
  }

  /** Stops what is over. Also called by tests, with a clock of their own. */
  check(): void {
    const nowMs = this.#now()
    if (nowMs - this.#checkedAtMs > HELD_UP_MS) this.#listeningSinceMs = nowMs
    this.#checkedAtMs = nowMs
    try {
      const leases = this.#context.store.leases()
      for (const { taskId, graceSeconds } of leases) this.#look(taskId, graceSeconds, nowMs)
      this.#forget(new Set(leases.map(({ taskId }) => taskId)))
    } catch (error) {
      this.#context.log.error({ err: error }, 'cannot look after leases') // a full disk: the next check tries again
    }
  }

  #look(taskId: TaskId, graceSeconds: number, nowMs: number): void {
    if (this.#lastHeardMs(taskId) + graceSeconds * 1000 > nowMs) return
    const task = this.#context.store.getTask(taskId)
    if (task === undefined) return
    if (!isHeld(task)) return void this.release(taskId) // it never will be again
    const sinceMs = Math.max(this.#lastHeardMs(taskId), Date.parse(task.createdAt))
    if (sinceMs + graceSeconds * 1000 > nowMs) return
    requestStop(this.#context, task, 'gateway', `its client was gone for ${formatSeconds(graceSeconds)} (onDisconnect)`)
  }

  #lastHeardMs(taskId: TaskId): number {
    return Math.max(this.#renewedAtMs.get(taskId) ?? 0, this.#listeningSinceMs)
  }

  #forget(alive: ReadonlySet<TaskId>): void {
    for (const taskId of this.#renewedAtMs.keys()) if (!alive.has(taskId)) this.#renewedAtMs.delete(taskId)
  }
}

/** The lease is for the work that was asked for with it: not for what is kept afterwards, nor for later turns. */
function isHeld(task: Task): boolean {
  if (task.state === 'ended' || task.state === 'finishing' || task.stopRequested !== undefined) return false
  return task.turns.length === 1 && task.turns[0]?.result === undefined
}
