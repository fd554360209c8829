/**
 * Two truths, one reconciler. The store says what should run, the launchers say what does; this closes every difference,
 * on a timer and whenever something wakes it. Each look at a task is short, idempotent and alone: a second look waits
 * until the first is done, so no step can run twice at the same time.
 */
import type { LaunchId, TaskId } from '../../protocol/ids.ts'
import type { Task } from '../../protocol/task.ts'
import type { PlacementStatus } from '../launchers/launcher.ts'
import type { AgentLink } from '../tunnels/links.ts'
import { isOver, type TaskContext } from './context.ts'
import { converse } from './conversation.ts'
import { endQueued, leave, leaveWithResult } from './ending.ts'
import { finish } from './finish.ts'
import { launchQueued, placed } from './launch.ts'

/** Every so many rounds the launchers are asked for placements that no task owns. */
const SWEEP_EVERY = 6
/** The agent enforces the time limit; the gateway steps in so much later, for an agent that does not. */
const TIMEOUT_GRACE_SECONDS = 120

type Look = { task: Task; status: PlacementStatus | undefined }

export class Reconciler {
  readonly #context: TaskContext
  /** Work in progress, by task. */
  readonly #busy = new Map<TaskId, Promise<void>>()
  /** Tasks that were woken while they were being looked at. */
  readonly #again = new Set<TaskId>()
  /** What each agent was last told: nothing is repeated without need. */
  readonly #told = new WeakMap<AgentLink, string>()
  #timer: NodeJS.Timeout | undefined
  #round: Promise<void> | undefined
  #rounds = 0
  #stopped = false

  constructor(context: TaskContext) {
    this.#context = context
  }

  start(): void {
    const every = Math.max(50, this.#context.config.intervals.reconcile * 1000)
    this.#timer = setInterval(() => this.wake(), every)
    this.wake()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    await this.#round
    await Promise.allSettled(this.#busy.values())
  }

  /** One task, or all of them with what the launchers say. */
  wake(taskId?: TaskId): void {
    if (this.#stopped) return
    this.#launchQueued()
    if (taskId !== undefined) this.#schedule(taskId, undefined)
    else
      this.#round ??= this.#lookAtAll().finally(() => {
        this.#round = undefined
      })
  }

  async #lookAtAll(): Promise<void> {
    try {
      const statuses = await this.#inspect()
      for (const task of this.#context.store.activeTasks()) {
        const launchId = 'placement' in task ? task.placement?.launchId : undefined
        this.#schedule(task.id, launchId && statuses.get(launchId))
      }
      if (this.#rounds++ % SWEEP_EVERY === 0) await this.#sweep()
    } catch (error) {
      this.#context.log.error({ err: error }, 'reconcile round failed')
    }
  }

  #launchQueued(): void {
    for (const { task, work } of launchQueued(this.#context, this.#busy)) this.#track(task.id, work)
  }

  #schedule(taskId: TaskId, status: PlacementStatus | undefined): void {
    if (this.#busy.has(taskId)) {
      this.#again.add(taskId)
      return
    }
    const task = this.#context.store.getTask(taskId)
    if (task === undefined || task.state === 'ended') return
    this.#track(taskId, this.#look({ task, status }))
  }

  #track(taskId: TaskId, work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => this.#context.log.error({ err: error, taskId }, 'cannot reconcile the task'))
      .finally(() => {
        this.#busy.delete(taskId)
        if (this.#again.delete(taskId) && !this.#stopped) this.#schedule(taskId, undefined)
        else if (!this.#stopped) this.#launchQueued() // whoever ended made room
      })
    this.#busy.set(taskId, tracked)
  }

  async #inspect(): Promise<Map<LaunchId, PlacementStatus>> {
    const placements = this.#context.store
      .activeTasks()
      .flatMap((task) => ('placement' in task && task.placement !== undefined ? [task.placement] : []))
    const statuses = new Map<LaunchId, PlacementStatus>()
    for (const [name, launcher] of this.#context.launchers) {
      const own = placements.filter((placement) => placement.launcher === name)
      if (own.length === 0) continue
      for (const [launchId, status] of await launcher.inspect(own)) statuses.set(launchId, status)
    }
    return statuses
  }

  async #look({ task, status }: Look): Promise<void> {
    switch (task.state) {
      case 'queued':
        return this.#lookAtQueued(task)
      case 'launching':
        return this.#recoverLaunch(task)
      case 'starting':
        return this.#lookAtStarting(task, status)
      case 'running':
        return this.#lookAtRunning(task, status)
      case 'finishing':
        return finish(this.#context, task)
      case 'ended':
        return
      default:
        task satisfies never
    }
  }

  #lookAtQueued(task: Task & { state: 'queued' }): void {
    const { deadlines } = this.#context.config
    if (task.stopRequested) endQueued(this.#context, task.id, 'cancelled', 'user', task.stopRequested.reason)
    else if (task.waitingFor === 'workspace' && isOver(task.since, deadlines.workspace))
      endQueued(
        this.#context,
        task.id,
        'failed',
        'workspace',
        `the workspace did not arrive within ${deadlines.workspace} s`,
      )
  }

  /** No launch of it is under way here, so it was cut off by the end of an earlier gateway. */
  async #recoverLaunch(task: Task & { state: 'launching' }): Promise<void> {
    const launch = this.#context.store.getLaunch(task.launchId)
    const launcher = launch && this.#context.launchers.get(launch.launcher)
    const found = (await launcher?.list())?.find((placement) => placement.launchId === task.launchId)
    if (found !== undefined) {
      const { taskId, ...placement } = found
      return placed(this.#context, placement, taskId)
    }
    this.#context.store.changeTask(task.id, (now) => {
      if (now.state !== 'launching' || now.launchId !== task.launchId) return undefined
      return {
        state: { state: 'queued', waitingFor: 'launch', since: now.since },
        events: [{ type: 'state', state: 'queued', message: 'the launch was cut off; launching again' }],
      }
    })
    this.#context.store.closeLaunch(task.launchId)
  }

  #lookAtStarting(task: Task & { state: 'starting' }, status: PlacementStatus | undefined): Promise<void> | undefined {
    const { deadlines } = this.#context.config
    if (task.stopRequested)
      return this.#leave(task, (now) => leave(now, 'cancelled', 'user', task.stopRequested?.reason ?? ''))
    if (isGone(status))
      return this.#leave(task, (now) =>
        leave(now, 'failed', 'launch', words('the agent ended before it dialled in', status)),
      )
    if (isOver(task.since, deadlines.start))
      return this.#leave(task, (now) =>
        leave(now, 'failed', 'start_timeout', `the agent did not dial in within ${deadlines.start} s`),
      )
    return undefined
  }

  async #lookAtRunning(task: Task & { state: 'running' }, status: PlacementStatus | undefined): Promise<void> {
    const reasonToLeave = this.#whyLeave(task, status)
    if (reasonToLeave !== undefined) return this.#leave(task, reasonToLeave)
    const link = this.#context.links.ofLaunch(task.placement.launchId)
    const said = `${task.turns.length} ${task.stopRequested !== undefined}`
    if (link === undefined || this.#told.get(link) === said) return
    if ((await converse(this.#context, task, link)) === 'nothing_to_stop')
      return this.#leave(task, (now) => leave(now, 'cancelled', 'user', task.stopRequested?.reason ?? ''))
    this.#told.set(link, said)
  }

  #whyLeave(task: Task & { state: 'running' }, status: PlacementStatus | undefined) {
    const { deadlines } = this.#context.config
    const { stopRequested, connection, keptUntil } = task
    const turn = task.turns.at(-1)
    const result = turn?.result
    if (keptUntil !== undefined && result !== undefined) {
      if (stopRequested || isOver(keptUntil, 0) || isGone(status)) return (now: Task) => leaveWithResult(now, result)
      return undefined
    }
    if (isGone(status)) {
      if (stopRequested) return (now: Task) => leave(now, 'cancelled', 'user', stopRequested.reason)
      if (status !== undefined && 'reason' in status && status.reason === 'infrastructure')
        return (now: Task) => leave(now, 'interrupted', 'infrastructure', words('the machine was taken away', status))
      return (now: Task) => leave(now, 'lost', 'placement_gone', words('the agent ended without a word', status))
    }
    if (stopRequested && isOver(stopRequested.at, deadlines.stop))
      return (now: Task) => leave(now, 'cancelled', 'user', `${stopRequested.reason} (the agent did not stop in time)`)
    if (!connection.online && isOver(connection.since, deadlines.offline))
      return (now: Task) => leave(now, 'lost', 'offline', `no agent for ${deadlines.offline} s`)
    const limit = Math.min(
      task.spec.limits.timeoutSeconds ?? Number.POSITIVE_INFINITY,
      this.#context.config.limits.taskTimeout,
    )
    if (turn?.startedAt !== undefined && isOver(turn.startedAt, limit + TIMEOUT_GRACE_SECONDS))
      return (now: Task) =>
        leave(now, 'timeout', 'max_duration', `the time limit of ${limit} s passed and the agent did not act on it`)
    return undefined
  }

  /** Compare-and-set: only from the state that was looked at. */
  async #leave(seen: Task, change: (now: Task) => ReturnType<typeof leave>): Promise<void> {
    const left = this.#context.store.changeTask(seen.id, (now) =>
      now.state === seen.state && now.turns.length === seen.turns.length ? change(now) : undefined,
    )
    if (left !== undefined) await finish(this.#context, left)
  }

  /** Nothing runs that no living task owns. */
  async #sweep(): Promise<void> {
    for (const launcher of this.#context.launchers.values()) {
      for (const placement of await launcher.list()) {
        if (this.#owns(placement.taskId, placement.launchId)) continue
        this.#context.log.warn({ taskId: placement.taskId, launchId: placement.launchId }, 'stopping an orphan')
        await launcher
          .stop(placement, 'no task owns it')
          .catch((error: unknown) => this.#context.log.error({ err: error }, 'cannot stop an orphan'))
        this.#context.store.closeLaunch(placement.launchId)
      }
    }
  }

  #owns(taskId: TaskId, launchId: LaunchId): boolean {
    const task = this.#context.store.getTask(taskId)
    if (task === undefined) return false
    if (task.state === 'launching') return task.launchId === launchId
    return 'placement' in task && task.placement?.launchId === launchId
  }
}

const isGone = (status: PlacementStatus | undefined): boolean =>
  status !== undefined && status.status !== 'running' && status.status !== 'pending'

function words(what: string, status: PlacementStatus | undefined): string {
  const detail = status !== undefined && 'detail' in status ? status.detail : undefined
  return detail === undefined ? what : `${what}; its last words: ${detail}`
}
