/**
 * Keeps to `retention` of the configuration, on a timer. A round asks the database by an index for what is due and does
 * so many tasks at most, so it costs nothing when nothing is due. For `retention.maxDisk` each ended task is measured
 * once and remembered, since what it left does not change.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import type { TaskId } from '../../protocol/ids.ts'
import { formatBytes, formatSeconds } from '../../protocol/units.ts'
import type { Reserve } from '../reserve.ts'
import { bytesOf, type PruneContext, prune, remove, sweep } from './prune.ts'

export interface RetentionContext extends PruneContext {
  reserve: Reserve
}

const BATCH = 100
/** Between two batches: the gateway has other things to do. */
const REST_MS = 50
/** It is remembered this long that a task was, and why it was deleted. */
const TOMBSTONE_MS = 365 * 86_400_000

export class Retention {
  readonly #context: RetentionContext
  /** Bytes of files by ended task, and when it ended: a task that was continued is measured again. */
  readonly #measured = new Map<TaskId, { endedAt: string; bytes: number }>()
  readonly #stopping = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #round: Promise<void> | undefined
  #hasSwept = false

  constructor(context: RetentionContext) {
    this.#context = context
  }

  start(): void {
    const everyMs = Math.max(1, this.#context.config.intervals.prune) * 1000
    this.#timer = setInterval(() => this.run(), everyMs)
    this.run()
  }

  /** Waits for the task that is being deleted, not for all that are due. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#stopping.abort()
    await this.#round
  }

  run(): void {
    this.#round ??= this.#keep()
      .catch((error: unknown) => this.#failed(error))
      .finally(() => {
        this.#round = undefined
      })
  }

  /** On a full disk the next round has the space that was kept aside for deleting. */
  #failed(error: unknown): void {
    const isFull = error instanceof RclaudeError && error.code === 'disk_full'
    const isHelped = isFull && this.#context.reserve.release()
    this.#context.log.error({ err: error, isHelped }, 'cannot prune ended tasks')
  }

  async #keep(): Promise<void> {
    const { tasks, workspaces, maxDisk } = this.#context.config.retention
    if (!this.#hasSwept) await this.#sweep()
    if (tasks > 0) await this.#older(tasks, 'retention.tasks', false)
    if (workspaces > 0) await this.#older(workspaces, 'retention.workspaces', true)
    if (maxDisk > 0) await this.#within(maxDisk)
    this.#context.store.dropTombstones(new Date(Date.now() - TOMBSTONE_MS).toISOString())
    this.#context.reserve.restore()
  }

  async #sweep(): Promise<void> {
    const swept = await sweep(this.#context)
    this.#hasSwept = true
    if (swept > 0) this.#context.log.info({ swept }, 'deleted files of tasks that are no more')
  }

  async #older(seconds: number, key: string, workspacesOnly: boolean): Promise<void> {
    const before = new Date(Date.now() - seconds * 1000).toISOString()
    const by = `${key}: ${formatSeconds(seconds)}`
    const { signal } = this.#stopping
    let cursor: string | undefined
    const sum = { tasks: 0, bytes: 0 }
    do {
      const request = { before, limit: BATCH, cursor, workspacesOnly, dryRun: false, by, signal }
      const { pruned, nextCursor } = await prune(this.#context, request)
      sum.tasks += pruned.length
      for (const { bytes } of pruned) sum.bytes += bytes
      cursor = nextCursor
      await this.#rest()
    } while (cursor !== undefined && !signal.aborted)
    if (sum.tasks > 0) this.#context.log.info({ ...sum, key, freed: formatBytes(sum.bytes) }, 'pruned ended tasks')
  }

  /** Whole tasks go, until the rest is within the quota. Running ones count, and stay. */
  async #within(maxDisk: number): Promise<void> {
    const { store, log } = this.#context
    let held = await this.#held()
    if (held <= maxDisk) return
    const by = `retention.maxDisk: ${formatBytes(maxDisk)}`
    let pruned = 0
    let cursor: string | undefined
    while (held > maxDisk && !this.#stopping.signal.aborted) {
      const [oldest] = store.endedTasks({ limit: 1, cursor })
      if (oldest === undefined) break
      cursor = oldest.cursor
      const bytes = (await this.#filesOf(oldest)) + oldest.eventBytes
      if (!(await remove(this.#context, oldest, { workspacesOnly: false, by }))) continue // it goes on
      this.#measured.delete(oldest.id)
      held -= bytes
      if (++pruned % BATCH === 0) await this.#rest()
    }
    const sum = { tasks: pruned, held: formatBytes(held), maxDisk: formatBytes(maxDisk) }
    if (held > maxDisk) log.warn(sum, 'tasks that have not ended hold more than retention.maxDisk')
    else log.info(sum, 'pruned ended tasks for retention.maxDisk')
  }

  /** Of all tasks: their files and their events. */
  async #held(): Promise<number> {
    const { store } = this.#context
    let held = store.totalEventBytes()
    for (const id of store.activeTaskIds()) held += await bytesOf(this.#context, { id, eventBytes: 0 }, true)
    const known = new Set<TaskId>()
    let cursor: string | undefined
    do {
      const ended = store.endedTasks({ limit: BATCH, cursor })
      for (const task of ended) {
        known.add(task.id)
        held += await this.#filesOf(task)
      }
      cursor = ended.length === BATCH ? ended.at(-1)?.cursor : undefined
      await this.#rest()
    } while (cursor !== undefined && !this.#stopping.signal.aborted)
    for (const id of this.#measured.keys()) if (!known.has(id)) this.#measured.delete(id)
    return held
  }

  async #filesOf(task: { id: TaskId; endedAt: string; isPruned: boolean }): Promise<number> {
    if (task.isPruned) return 0
    const known = this.#measured.get(task.id)
    if (known?.endedAt === task.endedAt) return known.bytes
    const bytes = await bytesOf(this.#context, { id: task.id, eventBytes: 0 }, true)
    this.#measured.set(task.id, { endedAt: task.endedAt, bytes })
    return bytes
  }

  #rest(): Promise<void> {
    return pause(REST_MS, undefined, { signal: this.#stopping.signal }).then(
      () => {},
      () => {}, // it is stopping: the loops look
    )
  }
}
