/**
 * One look at one task: does it have to leave its state (`verdict.ts`), and if not, is there something to be done or
 * said? Each look is short and idempotent; the reconciler sees to it that no two looks at a task overlap.
 */
import type { TaskId } from '../../protocol/ids.ts'
import { stateOf, type Task, type TaskState } from '../../protocol/task.ts'
import type { PlacementStatus } from '../launchers/launcher.ts'
import type { AgentLink } from '../tunnels/links.ts'
import { setOffline } from './connection.ts'
import { deadlineOf, type TaskContext } from './context.ts'
import { converse } from './conversation.ts'
import { endQueued, leave } from './ending.ts'
import { finish } from './finish.ts'
import { askAgain, failuresOf, placed } from './launch.ts'
import { launchDeadlines } from './machine.ts'
import { tokenLimitsOf } from './turn-limits.ts'
import { isGone, type Seen, type Verdict, verdictOnQueued, verdictOnRunning, verdictOnStarting } from './verdict.ts'

/** An agent that was told to come again comes within 10 s, if it can. */
const HELD_UP_MS = 30_000

export class Looks {
  readonly #context: TaskContext
  /** What each agent was last told: nothing is repeated without need. */
  readonly #told = new WeakMap<AgentLink, string>()
  /** What the machine of each starting task was last said to wait for. */
  readonly #waitsFor = new Map<TaskId, string>()
  /** How the Docker engine of a task was said to have ended, and the agents that know. */
  readonly #engineTold = new Map<TaskId, string>()
  readonly #engineToldTo = new WeakSet<AgentLink>()
  /** Why the last attempt to talk to a task's agent failed, for the message of a task that is given up for it. */
  readonly #trouble = new Map<TaskId, string>()

  constructor(context: TaskContext) {
    this.#context = context
  }

  async at(task: Task, status: PlacementStatus | undefined): Promise<void> {
    switch (task.state) {
      case 'queued':
        return this.#atQueued(task)
      case 'launching':
        return this.#recoverLaunch(task)
      case 'starting':
        return this.#atStarting(task, status)
      case 'running':
        return this.#atRunning(task, status)
      case 'finishing':
        return finish(this.#context, task)
      case 'ended':
        return
      default:
        task satisfies never
    }
  }

  #atQueued(task: Task & { state: 'queued' }): void {
    const verdict = verdictOnQueued(task, this.#seen(task, undefined))
    if (verdict) endQueued(this.#context, task.id, verdict.outcome, verdict.reason, verdict.message)
  }

  #atStarting(task: Task & { state: 'starting' }, status: PlacementStatus | undefined): Promise<void> {
    this.#tellEngineEnded(task, status)
    this.#notePaid(task, status)
    if (status?.status === 'pending' && status.detail !== undefined) this.#tellWait(task, status.detail)
    return this.#leave(task, verdictOnStarting(task, this.#seen(task, status)))
  }

  /** What its machine waits for, when that is something else than before. */
  #tellWait({ id, placement }: Task & { state: 'starting' }, message: string): void {
    if (this.#waitsFor.get(id) === message) return
    this.#waitsFor.set(id, message)
    this.#context.store.changeTask(id, (now) =>
      now.state === 'starting' && now.placement.launchId === placement.launchId
        ? { events: [{ type: 'step', step: 'start', status: 'started', message }] }
        : undefined,
    )
  }

  /** Since when its machine costs something, once the launcher knows. */
  #notePaid({ id, placement }: Task & { state: 'starting' | 'running' }, status: PlacementStatus | undefined): void {
    const paidFrom = status !== undefined && 'paidFrom' in status ? status.paidFrom : undefined
    if (paidFrom === undefined || placement.paidFrom !== null) return
    this.#context.store.changeTask(id, (now) =>
      (now.state === 'starting' || now.state === 'running') && now.placement.launchId === placement.launchId
        ? { state: { ...stateOf(now), placement: { ...now.placement, paidFrom } } as TaskState }
        : undefined,
    )
  }

  /** The task is told once, and once more after a restart; its agent, which may wait for it, each time it has dialled in. */
  #tellEngineEnded(task: Task & { state: 'starting' | 'running' }, status: PlacementStatus | undefined): void {
    if (status?.status !== 'running' || status.engineEnded === undefined) return
    const message = status.engineEnded
    const { launchId } = task.placement
    const link = this.#context.links.ofLaunch(launchId)
    if (link?.isAttached && !this.#engineToldTo.has(link)) {
      this.#engineToldTo.add(link)
      link.call('POST', '/engine-ended', { message }).catch(() => this.#engineToldTo.delete(link))
    }
    if (this.#engineTold.get(task.id) === message) return
    this.#engineTold.set(task.id, message)
    this.#context.store.changeTask(task.id, (now) =>
      'placement' in now && now.placement?.launchId === launchId
        ? { events: [{ type: 'warning', message }] }
        : undefined,
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
      const isHalf = status?.status === 'pending' && status.isCutOff === true
      if (isHalf && task.stopRequested === undefined && (await askAgain(this.#context, task))) return
      if (!isHalf && !isGone(status)) return placed(this.#context, placement, taskId)
      await launcher.stop(placement, 'its launch was cut off')
    } else if (task.stopRequested === undefined && (await askAgain(this.#context, task))) return
    this.#context.store.changeTask(task.id, (now) => {
      if (now.state !== 'launching' || now.launchId !== task.launchId) return undefined
      return {
        state: { state: 'queued', waitingFor: 'launch', since: now.since, ...failuresOf(now) },
        events: [{ type: 'state', state: 'queued', message: 'the launch was cut off; launching again' }],
      }
    })
    this.#context.store.closeLaunch(task.launchId)
  }

  async #atRunning(task: Task & { state: 'running' }, status: PlacementStatus | undefined): Promise<void> {
    this.#waitsFor.delete(task.id)
    this.#tellEngineEnded(task, status)
    this.#notePaid(task, status)
    const verdict = verdictOnRunning(task, this.#seen(task, status))
    if (verdict !== undefined) return this.#leave(task, verdict)
    const { launchId } = task.placement
    const link = this.#context.links.ofLaunch(launchId)
    if (link === undefined) {
      if (task.connection.online) setOffline(this.#context, { taskId: task.id, launchId })
      return
    }
    if (!link.isAttached) return // there will be a look when it is back
    const word = `${task.turns.length} ${task.stopRequested !== undefined}`
    if (this.#told.get(link) === word) return
    const answer = await this.#converse(task, link)
    if (answer === 'told') this.#told.set(link, word)
    if (answer === 'nothing_to_stop')
      await this.#leave(task, { outcome: 'cancelled', reason: 'user', message: task.stopRequested?.reason ?? '' })
  }

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

  #seen(task: Task, status: PlacementStatus | undefined): Seen {
    const { deadlines, limits } = this.#context.config
    const placement = 'placement' in task ? task.placement : undefined
    const dialledAt = placement && this.#context.heldUp.get(placement.launchId)
    const { taskTimeoutSeconds } = task.state === 'running' ? tokenLimitsOf(this.#context.store, task.id) : {}
    return {
      status,
      trouble: this.#trouble.get(task.id),
      deadlines,
      launchDeadlines: launchDeadlines(
        this.#context.config,
        placement && this.#context.launchers.get(placement.launcher),
      ),
      taskTimeout: Math.min(limits.taskTimeout, taskTimeoutSeconds ?? Number.POSITIVE_INFINITY),
      isHeldUp: dialledAt !== undefined && dialledAt + HELD_UP_MS > Date.now(),
      isPast: (since, seconds) => deadlineOf(this.#context, since, seconds) <= Date.now(),
    }
  }

  /** Compare-and-set: only from the state that was looked at. */
  async #leave(seen: Task, verdict: Verdict | undefined): Promise<void> {
    if (verdict === undefined) return
    const { outcome, reason, message } = verdict
    const left = this.#context.store.changeTask(seen.id, (now) =>
      now.state === seen.state && now.turns.length === seen.turns.length
        ? leave(now, outcome, reason, message)
        : undefined,
    )
    if (left === undefined) return
    this.#trouble.delete(seen.id)
    this.#waitsFor.delete(seen.id)
    this.#engineTold.delete(seen.id)
    if ('placement' in seen && seen.placement) this.#context.heldUp.delete(seen.placement.launchId)
    await finish(this.#context, left)
  }
}
