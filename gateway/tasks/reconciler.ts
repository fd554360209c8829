/**
 * Two truths, one reconciler. The store says what should run, the launchers say what does; this closes every difference,
 * on a timer and whenever something wakes it. Each look at a task is short, idempotent and alone: a second look waits
 * until the first is done, so no step can run twice at the same time.
 */
import { setImmediate } from 'node:timers/promises'
import { within } from '../../host/within.ts'
import type { LaunchId, TaskId } from '../../protocol/ids.ts'
import type { Launcher, PlacementStatus } from '../launchers/launcher.ts'
import type { TaskContext } from './context.ts'
import { launchQueued } from './launch.ts'
import { Looks } from './looks.ts'
import { isOwned, stopOrphan } from './orphans.ts'
import { readable } from './readable.ts'

/** Every so many rounds the launchers are asked for placements that no task owns. */
const SWEEP_EVERY = 6
const MIN_INTERVAL_MS = 50
/** Tasks of one round that are looked at before anything else has its turn. */
const LOOKS_AT_ONCE = 50
/** What is under way when the gateway stops gets this long; every step of it can be taken up again. */
const STOP_PATIENCE_MS = 5_000

export class Reconciler {
  readonly #context: TaskContext
  readonly #looks: Looks
  /** Work in progress, by task. */
  readonly #busy = new Map<TaskId, Promise<void>>()
  /** Tasks that were woken while they were being looked at. */
  readonly #again = new Set<TaskId>()
  #timer: NodeJS.Timeout | undefined
  #launching: NodeJS.Immediate | undefined
  #round: Promise<void> | undefined
  #rounds = 0
  #stopped = false

  constructor(context: TaskContext) {
    this.#context = context
    this.#looks = new Looks(context)
  }

  start(): void {
    const every = Math.max(MIN_INTERVAL_MS, this.#context.config.intervals.reconcile * 1000)
    this.#timer = setInterval(() => this.wake(), every)
    this.wake()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    const orphans = [...this.#context.stoppingOrphans.values()].map(({ gone }) => gone)
    await within(
      STOP_PATIENCE_MS,
      Promise.allSettled([this.#round, ...this.#busy.values(), ...orphans]),
      () => undefined,
    )
  }

  /** One task, or all of them with what the launchers say. */
  wake(taskId?: TaskId): void {
    if (this.#stopped || this.#context.held() !== undefined) return
    this.#launchSoon()
    if (taskId !== undefined) this.#schedule(taskId, undefined)
    else
      this.#round ??= this.#lookAtAll().finally(() => {
        this.#round = undefined
      })
  }

  async #lookAtAll(): Promise<void> {
    try {
      const statuses = await this.#inspect()
      let looked = 0
      for (const taskId of this.#context.store.activeTaskIds()) {
        if (this.#stopped) return
        this.#schedule(taskId, statuses)
        if (++looked % LOOKS_AT_ONCE === 0) await setImmediate()
      }
      if (this.#rounds++ % SWEEP_EVERY === 0) await this.#sweep()
    } catch (error) {
      this.#context.log.error({ err: error }, 'reconcile round failed')
    }
  }

  /** However many wake it at once, the queue is looked at once. */
  #launchSoon(): void {
    this.#launching ??= globalThis.setImmediate(() => {
      this.#launching = undefined
      if (!this.#stopped) this.#launchQueued()
    })
  }

  #launchQueued(): void {
    try {
      for (const { task, work } of launchQueued(this.#context, this.#busy)) this.#track(task.id, work)
    } catch (error) {
      this.#context.log.error({ err: error }, 'cannot launch what is queued')
    }
  }

  #schedule(taskId: TaskId, statuses: ReadonlyMap<LaunchId, PlacementStatus> | undefined): void {
    if (this.#busy.has(taskId)) {
      this.#again.add(taskId)
      return
    }
    const task = readable(this.#context, taskId)
    if (task === undefined || task.state === 'ended') return
    const isInQueue = task.state === 'queued' && task.waitingFor === 'launch' && !task.stopRequested
    if (isInQueue) return // its turn comes
    const launchId = 'placement' in task ? task.placement?.launchId : undefined
    this.#track(taskId, this.#looks.at(task, launchId && statuses?.get(launchId)))
  }

  #track(taskId: TaskId, work: Promise<void>): void {
    const tracked = work
      .then(() => true)
      .catch((error: unknown) => {
        this.#context.log.error({ err: error, taskId }, 'cannot reconcile the task')
        return false
      })
      .then((isDone) => {
        this.#busy.delete(taskId)
        const isWoken = this.#again.delete(taskId)
        // What failed (a full disk) would fail again at once, for ever: the next round looks at it.
        if (this.#stopped || !isDone) return
        if (isWoken) this.#schedule(taskId, undefined)
        else this.#launchSoon() // whoever ended made room
      })
      .catch((error: unknown) => this.#context.log.error({ err: error, taskId }, 'cannot look at the task again'))
    this.#busy.set(taskId, tracked)
  }

  async #inspect(): Promise<Map<LaunchId, PlacementStatus>> {
    const placements = this.#context.store.openPlacements()
    const statuses = new Map<LaunchId, PlacementStatus>()
    await this.#askAll(async (launcher) => {
      const own = placements.filter((placement) => placement.launcher === launcher.name)
      if (own.length === 0) return
      for (const [launchId, status] of await launcher.inspect(own)) statuses.set(launchId, status)
    })
    return statuses
  }

  /** One that does not answer keeps nobody from hearing the others, nor waiting. */
  async #askAll(work: (launcher: Launcher) => Promise<void>): Promise<void> {
    const ask = async (launcher: Launcher) => {
      try {
        await work(launcher)
      } catch (error) {
        this.#context.log.error({ err: error, launcher: launcher.name }, 'the launcher does not answer')
      }
    }
    await Promise.all([...this.#context.launchers.values()].map(ask))
  }

  /** Nothing runs that no living task owns. No round waits until an orphan is gone. */
  async #sweep(): Promise<void> {
    await this.#askAll(async (launcher) => {
      for (const placement of await launcher.list()) {
        const { taskId, launchId } = placement
        if (!isOwned(this.#context, taskId, launchId)) void stopOrphan(this.#context, launcher, placement)
      }
    })
  }
}
