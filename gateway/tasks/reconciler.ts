/**
 * Two truths, one reconciler. The store says what should run, the launchers say what does; this closes every difference,
 * on a timer and whenever something wakes it. Each look at a task is short, idempotent and alone: a second look waits
 * until the first is done, so no step can run twice at the same time.
 */
import type { LaunchId, TaskId } from '../../protocol/ids.ts'
import type { Task } from '../../protocol/task.ts'
import type { PlacementStatus } from '../launchers/launcher.ts'
import type { AgentLink } from '../tunnels/links.ts'
import { setOffline } from './connection.ts'
import { deadlineOf, isOver, type TaskContext } from './context.ts'
import { converse } from './conversation.ts'
import { endQueued, leave, leaveWithResult } from './ending.ts'
import { finish } from './finish.ts'
import { launchQueued, placed } from './launch.ts'

/** Every so many rounds the launchers are asked for placements that no task owns. */
const SWEEP_EVERY = 6
/** The agent enforces the time limit; the gateway steps in so much later, for an agent that does not. */
const TIMEOUT_GRACE_SECONDS = 120
const MIN_INTERVAL_MS = 50
/** What is under way when the gateway stops gets this long; every step of it can be taken up again. */
const STOP_PATIENCE_MS = 5_000

type Look = { task: Task; status: PlacementStatus | undefined }

export class Reconciler {
  readonly #context: TaskContext
  /** Work in progress, by task. */
  readonly #busy = new Map<TaskId, Promise<void>>()
  /** Tasks that were woken while they were being looked at. */
  readonly #again = new Set<TaskId>()
  /** What each agent was last told: nothing is repeated without need. */
  readonly #told = new WeakMap<AgentLink, string>()
  /** Why the last attempt to talk to a task's agent failed. */
  readonly #trouble = new Map<TaskId, string>()
  #timer: NodeJS.Timeout | undefined
  #launching: NodeJS.Immediate | undefined
  #round: Promise<void> | undefined
  #rounds = 0
  #stopped = false

  constructor(context: TaskContext) {
    this.#context = context
  }

  start(): void {
    const every = Math.max(MIN_INTERVAL_MS, this.#context.config.intervals.reconcile * 1000)
    this.#timer = setInterval(() => this.wake(), every)
    this.wake()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    const work = Promise.allSettled([this.#round, ...this.#busy.values()])
    let timer: NodeJS.Timeout | undefined
    const patience = new Promise((resolve) => {
      timer = setTimeout(resolve, STOP_PATIENCE_MS)
    })
    await Promise.race([work, patience])
    clearTimeout(timer)
  }

  /** One task, or all of them with what the launchers say. */
  wake(taskId?: TaskId): void {
    if (this.#stopped) return
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
      for (const task of this.#context.store.activeTasks()) {
        if (task.state === 'queued' && task.waitingFor === 'launch' && !task.stopRequested) continue // its turn comes
        const launchId = 'placement' in task ? task.placement?.launchId : undefined
        this.#schedule(task.id, launchId && statuses.get(launchId))
      }
      if (this.#rounds++ % SWEEP_EVERY === 0) await this.#sweep()
    } catch (error) {
      this.#context.log.error({ err: error }, 'reconcile round failed')
    }
  }

  /** However many wake it at once, the queue is looked at once. */
  #launchSoon(): void {
    this.#launching ??= setImmediate(() => {
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
    else if (task.waitingFor === 'workspace' && this.#isPast(task.since, deadlines.workspace))
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
    if (launcher !== undefined && found !== undefined) {
      const { taskId, ...placement } = found
      const status = (await launcher.inspect([placement])).get(placement.launchId)
      if (!isGone(status)) return placed(this.#context, placement, taskId)
      await launcher.stop(placement, 'its launch was cut off')
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
    if (this.#isPast(task.since, deadlines.start))
      return this.#leave(task, (now) =>
        leave(now, 'failed', 'start_timeout', `the agent did not dial in within ${deadlines.start} s`),
      )
    return undefined
  }

  async #lookAtRunning(task: Task & { state: 'running' }, status: PlacementStatus | undefined): Promise<void> {
    const reasonToLeave = this.#whyLeave(task, status)
    if (reasonToLeave !== undefined) return this.#leave(task, reasonToLeave)
    const link = this.#context.links.ofLaunch(task.placement.launchId)
    if (link === undefined && task.connection.online)
      setOffline(this.#context, { taskId: task.id, launchId: task.placement.launchId })
    const said = `${task.turns.length} ${task.stopRequested !== undefined}`
    if (link === undefined || this.#told.get(link) === said) return
    const answer = await this.#converse(task, link)
    if (answer === 'nothing_to_stop')
      return this.#leave(task, (now) => leave(now, 'cancelled', 'user', task.stopRequested?.reason ?? ''))
    if (answer === 'told') this.#told.set(link, said)
  }

  /** Remembers what went wrong, for the message of a task that is given up for it. */
  async #converse(task: Task, link: AgentLink): ReturnType<typeof converse> {
    try {
      const answer = await converse(this.#context, task, link)
      this.#trouble.delete(task.id)
      return answer
    } catch (error) {
      this.#trouble.set(task.id, error instanceof Error ? error.message : String(error))
      throw error
    }
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
    if (stopRequested && this.#isPast(stopRequested.at, deadlines.stop))
      return (now: Task) => leave(now, 'cancelled', 'user', `${stopRequested.reason} (the agent did not stop in time)`)
    if (!connection.online && this.#isPast(connection.since, deadlines.offline))
      return (now: Task) => leave(now, 'lost', 'offline', `no agent for ${deadlines.offline} s`)
    const limit = Math.min(
      task.spec.limits.timeoutSeconds ?? Number.POSITIVE_INFINITY,
      this.#context.config.limits.taskTimeout,
    )
    const begun = turn?.startedAt ?? later(task.since, turn?.createdAt ?? task.since)
    if (this.#isPast(begun, limit + TIMEOUT_GRACE_SECONDS))
      return (now: Task) =>
        leave(now, 'timeout', 'max_duration', `the time limit of ${limit} s passed and the agent did not act on it`)
    const trouble = this.#trouble.get(task.id)
    if (
      trouble !== undefined &&
      turn?.startedAt === undefined &&
      connection.online &&
      this.#isPast(begun, deadlines.start)
    )
      return (now: Task) => leave(now, 'failed', 'internal', `the agent could not be given its work: ${trouble}`)
    return undefined
  }

  #isPast(since: string, seconds: number): boolean {
    return deadlineOf(this.#context, since, seconds) <= Date.now()
  }

  /** Compare-and-set: only from the state that was looked at. */
  async #leave(seen: Task, change: (now: Task) => ReturnType<typeof leave>): Promise<void> {
    const left = this.#context.store.changeTask(seen.id, (now) =>
      now.state === seen.state && now.turns.length === seen.turns.length ? change(now) : undefined,
    )
    if (left === undefined) return
    this.#trouble.delete(seen.id)
    await finish(this.#context, left)
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

const later = (a: string, b: string): string => (Date.parse(a) > Date.parse(b) ? a : b)

const isGone = (status: PlacementStatus | undefined): boolean =>
  status !== undefined && status.status !== 'running' && status.status !== 'pending'

function words(what: string, status: PlacementStatus | undefined): string {
  const detail = status !== undefined && 'detail' in status ? status.detail : undefined
  return detail === undefined ? what : `${what}; its last words: ${detail}`
}
