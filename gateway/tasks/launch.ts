/**
 * From the queue to a placement. The intent (launch id, hash of the join code, and sealed the whole request) is stored before
 * the launcher is called: whatever happens in between, the reconciler can tell what the launcher did from what it was
 * asked, and ask for the very same again.
 */
import { RclaudeError } from '../../protocol/errors.ts'
import type { EventBody } from '../../protocol/event.ts'
import { type LaunchId, newLaunchId, type TaskId } from '../../protocol/ids.ts'
import { type Machine, machineText } from '../../protocol/machine.ts'
import type { Placement, Task } from '../../protocol/task.ts'
import { formatSeconds } from '../../protocol/units.ts'
import { hashSecret, newSecret } from '../auth/tokens.ts'
import type { Launcher, LaunchSpec } from '../launchers/launcher.ts'
import { isoNow, type TaskContext } from './context.ts'
import { endQueued, leave } from './ending.ts'
import { openRequest, type Request, sealRequest } from './launch-request.ts'
import { launchDeadlines, machineFor } from './machine.ts'
import { inOrder, isDue } from './queue.ts'
import { readable } from './readable.ts'
import { countRoom } from './room.ts'

/** Longest wait between two attempts to launch. */
const MAX_LAUNCH_WAIT_SECONDS = 300

/**
 * Launches as many queued tasks as the limits leave room for, in an order that is fair between users (`queue.ts`).
 * @param busy tasks that are being worked on and left alone
 */
export function launchQueued(
  context: TaskContext,
  busy: { has(taskId: TaskId): boolean },
): Array<{ task: Task; work: Promise<void> }> {
  // Asked at every connect of an agent, so the answer that is nearly always right comes first.
  if (context.store.countTasks('queued') === 0) return []
  const room = countRoom(context.store, context.config.limits)
  if (room.isFull) return []
  const launched: Array<{ task: Task; work: Promise<void> }> = []
  for (const waiting of inOrder(context.store.waitingTasks(), room, context.served)) {
    if (room.isFull) break
    if (!isDue(waiting) || busy.has(waiting.id)) continue
    const grant = room.grant(waiting)
    const task = 'limit' in grant ? undefined : readable(context, waiting.id)
    if ('limit' in grant || task === undefined) continue
    room.take(waiting, grant.usd)
    context.served.note(waiting.owner)
    launched.push({ task, work: launch(context, task, grant.usd) })
  }
  return launched
}

/** @param budgetUsd what the turn may cost */
async function launch(context: TaskContext, task: Task, budgetUsd: number | undefined): Promise<void> {
  const launcher = context.launchers.get(task.spec.launcher ?? context.config.launchers.default)
  if (launcher === undefined)
    return endQueued(
      context,
      task.id,
      'failed',
      'launch',
      `this gateway no longer has the launcher "${task.spec.launcher}"`,
    )
  const spec = specOf(context, launcher, task)
  if (spec instanceof RclaudeError) return endQueued(context, task.id, 'failed', 'launch', spec.message)
  const stored = context.store.changeTask(task.id, (now) => {
    if (now.state !== 'queued' || now.stopRequested) return undefined
    context.store.insertLaunch({
      launchId: spec.launchId,
      taskId: task.id,
      launcher: launcher.name,
      joinHash: hashSecret(spec.joinCode),
      request: sealRequest(context, { spec, kept: undefined }),
      createdAt: isoNow(),
    })
    return {
      state: { state: 'launching', launchId: spec.launchId, since: isoNow(), ...failuresOf(now) },
      turns: withBudget(now.turns, budgetUsd),
      events: [
        { type: 'state', state: 'launching' },
        { type: 'step', step: 'launch', status: 'started', message: launchText(launcher, spec.machine) },
      ],
    }
  })
  if (stored !== undefined) await ask(context, launcher, { spec, kept: undefined })
}

const launchText = ({ name }: Launcher, machine: Machine): string =>
  [name, machineText(machine)].filter(Boolean).join(': ')

/** What was configured when the task was let in may have changed while it waited. */
function specOf(context: TaskContext, launcher: Launcher, task: Task): LaunchSpec | RclaudeError {
  try {
    const machine = machineFor(launcher, task.spec)
    const { agent } = task.spec
    const ids = { launchId: newLaunchId(), taskId: task.id }
    return { ...ids, gatewayUrl: context.agentUrl(), joinCode: newSecret(), agent, machine }
  } catch (error) {
    if (error instanceof RclaudeError) return error
    throw error
  }
}

/**
 * A launch that the end of an earlier gateway cut off, and of which its launcher shows nothing: it may have started all the
 * same, so the very same is asked for again, which starts nothing twice.
 * @returns false when that is not known any more
 */
export async function askAgain(context: TaskContext, task: Task & { state: 'launching' }): Promise<boolean> {
  const stored = context.store.getLaunch(task.launchId)
  const launcher = stored && context.launchers.get(stored.launcher)
  const request = stored && openRequest(context, stored)
  if (launcher === undefined || request === undefined) return false
  tell(context, request.spec, {
    type: 'step',
    step: 'launch',
    status: 'started',
    message: 'asked again after a restart',
  })
  await ask(context, launcher, request)
  return true
}

async function ask(context: TaskContext, launcher: Launcher, { spec, kept }: Request): Promise<void> {
  const { launchId, taskId } = spec
  const deadline = launchDeadlines(context.config, launcher).launch
  const signal = AbortSignal.timeout(deadline.seconds * 1000)
  try {
    const work = launcher.launch(spec, {
      signal,
      progress: (message) => tell(context, spec, { type: 'step', step: 'launch', status: 'started', message }),
      warn: (message) => tell(context, spec, { type: 'warning', message }),
      keep: (note) => context.store.setRequest(launchId, sealRequest(context, { spec, kept: note })),
      kept,
    })
    placed(context, await inTime(context, launcher, work, signal, deadline.key), taskId)
  } catch (error) {
    context.log.error({ err: error, taskId, launchId }, 'launch failed')
    failed(context, taskId, launchId, error)
  }
}

/** While it is being launched. What cannot be stored is not worth a launch. */
function tell(context: TaskContext, { taskId, launchId }: LaunchSpec, event: EventBody): void {
  try {
    context.store.changeTask(taskId, (now) =>
      now.state === 'launching' && now.launchId === launchId ? { events: [event] } : undefined,
    )
  } catch (error) {
    context.log.warn({ err: error, taskId }, 'cannot store what the launcher says')
  }
}

/** The newest turn gets what it may cost, or loses what an earlier launch of it was given. */
export function withBudget(turns: Task['turns'], budgetUsd: number | undefined): Task['turns'] {
  return turns.map((turn, index) => {
    if (index < turns.length - 1) return turn
    const { budgetUsd: _, ...rest } = turn
    return { ...rest, ...(budgetUsd !== undefined && { budgetUsd }) }
  })
}

/** A launcher that does not mind the signal holds nobody up; what it starts all the same is stopped. */
function inTime(
  context: TaskContext,
  launcher: Launcher,
  work: Promise<Placement>,
  signal: AbortSignal,
  key: string,
): Promise<Placement> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () =>
      // Not `unavailable`: it may have launched, and the same task is never launched twice.
      reject(new RclaudeError('internal', `the launcher did not answer before ${key}`)),
    )
    work.then((placement) => {
      resolve(placement)
      if (!signal.aborted) return
      context.log.warn({ launchId: placement.launchId }, 'stopping what was launched too late')
      launcher
        .stop(placement, 'it came too late')
        .catch((error: unknown) => context.log.warn({ err: error }, 'cannot stop what came too late: it is swept'))
    }, reject)
  })
}

/** The placement exists; also called when the reconciler finds it after a crash in between. */
export function placed(context: TaskContext, placement: Placement, taskId: Task['id']): void {
  context.store.setPlacement(placement.launchId, placement)
  context.store.changeTask(taskId, (now) => {
    if (now.state !== 'launching' || now.launchId !== placement.launchId) return undefined
    return {
      state: { state: 'starting', placement, since: isoNow() },
      events: [
        { type: 'state', state: 'starting' },
        { type: 'step', step: 'launch', status: 'done', durationMs: Date.now() - Date.parse(now.since) },
        { type: 'step', step: 'start', status: 'started' },
      ],
    }
  })
  context.wake(taskId) // a stop that was asked for meanwhile, or a task that is no more
}

/** No machine could be had: the task waits for one. Anything else, or too many attempts, is its end. */
function failed(context: TaskContext, taskId: TaskId, launchId: LaunchId, error: unknown): void {
  const message = error instanceof Error ? error.message : String(error)
  const isPassing = error instanceof RclaudeError && error.code === 'unavailable'
  const step = { type: 'step', step: 'launch', status: 'failed', message } as const
  const left = context.store.changeTask(taskId, (now) => {
    if (now.state !== 'launching' || now.launchId !== launchId) return undefined
    if (now.stopRequested) return leave(now, 'cancelled', 'user', message, [step])
    const again = isPassing ? nextAttempt(context, now) : undefined
    if (again === undefined) return leave(now, 'failed', isPassing ? 'capacity' : 'launch', message, [step])
    return {
      state: { state: 'queued', waitingFor: 'launch', since: isoNow(), ...again.facts },
      events: [step, { type: 'state', state: 'queued', message: `${message}; ${again.text}` }],
    }
  })
  if (left?.state === 'queued') context.store.closeLaunch(launchId)
  else context.wake(taskId)
}

/** A little later each time; undefined after the last. */
function nextAttempt({ config: { limits, intervals } }: TaskContext, task: Task) {
  const launchFailures = (failuresOf(task).launchFailures ?? 0) + 1
  if (launchFailures >= limits.launchAttempts) return undefined
  const seconds = Math.min(intervals.launchRetry * 2 ** (launchFailures - 1), MAX_LAUNCH_WAIT_SECONDS)
  return {
    facts: { launchFailures, notBefore: new Date(Date.now() + seconds * 1000).toISOString() },
    text: `attempt ${launchFailures + 1} of ${limits.launchAttempts} in ${formatSeconds(seconds)}`,
  }
}

/** How often this task's launch failed before, to be carried along. */
export const failuresOf = (task: Task): { launchFailures?: number } =>
  'launchFailures' in task && task.launchFailures !== undefined ? { launchFailures: task.launchFailures } : {}
