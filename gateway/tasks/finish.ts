/**
 * The end of a task, as idempotent steps: hear the agent out, look at what it saved, let it go, see its placement gone.
 * Killed at any point, the gateway takes up the same steps after its restart. A step that cannot be done before the
 * deadline is left out, and the task is marked `incomplete`.
 */
import { RclaudeError } from '../../protocol/errors.ts'
import { NO_USAGE, type RunResult } from '../../protocol/event.ts'
import { RunStatus } from '../../protocol/run.ts'
import type { Placement, Task } from '../../protocol/task.ts'
import type { Launcher, PlacementStatus } from '../launchers/launcher.ts'
import type { AgentLink } from '../tunnels/links.ts'
import { chargeForUnknown } from './charge.ts'
import { deadlineOf, type FinishStep, isoNow, type TaskContext } from './context.ts'
import { closeTurn } from './ending.ts'
import { machineCost } from './machine-cost.ts'

/** After a restart of the gateway the agent dials again; so long it is waited for. */
const REDIAL_GRACE_MS = 15_000
/** Between the word to leave and the look whether it has left. */
const LEAVE_GRACE_MS = 3_000
const POLL_MS = 50
const SAVE_POLL_MS = 250

export async function finish(context: TaskContext, task: Task): Promise<void> {
  if (task.state !== 'finishing') return
  const deadline = deadlineOf(context, task.since, context.config.deadlines.finish)
  const step = (name: FinishStep) => context.onFinishStep?.(name, task.id)
  step('hear_out')
  await hearOut(context, task, deadline)
  // Everything that the agent saved is on this side by now, so it may go before that is looked at.
  step('let_go')
  if (task.placement) await letGo(context, task.placement, task.id, deadline)
  step('remove')
  if (task.placement) await remove(context, task.placement, task.id, deadline)
  step('collect')
  const isCollected = await collect(context, task.id).then(
    () => true,
    (error: unknown) => {
      if (Date.now() < deadline) throw error // the next round tries again
      context.log.error({ err: error, taskId: task.id }, 'ending a task whose results cannot be read')
      return false
    },
  )
  const paidSeconds = task.placement && (await paidFor(context, task.placement))
  step('end')
  end(context, task.id, { isCollected, paidSeconds })
}

/** Waits until everything the agent said is stored, as far as it can be had. */
async function hearOut(context: TaskContext, task: Task, deadline: number): Promise<void> {
  const placement = task.state === 'finishing' ? task.placement : undefined
  if (placement === undefined) return
  const hasResult = task.turns.at(-1)?.result !== undefined
  // Without a result nobody expects the agent to come back: it crashed, or it was given up.
  const patience = hasResult ? REDIAL_GRACE_MS : 0
  let link = await linkOf(context, placement, Math.min(Date.now() + patience, deadline))
  while (link !== undefined) {
    try {
      const { lastAgentSeq } = await savedStatus(link, task, deadline)
      await until(
        () => context.store.lastAgentSeq(placement.launchId) >= lastAgentSeq,
        Math.min(Date.now() + REDIAL_GRACE_MS, deadline),
      )
      return
    } catch (error) {
      context.log.warn({ err: error, taskId: task.id }, 'cannot hear the agent out')
      const isLost = error instanceof RclaudeError && error.code === 'agent_offline' && !link.isAttached
      link = isLost ? await linkOf(context, placement, Math.min(Date.now() + REDIAL_GRACE_MS, deadline)) : undefined
    }
  }
}

/** Work that goes on is told to end, and given time to save what it has. */
async function savedStatus(link: AgentLink, task: Task, deadline: number): Promise<RunStatus> {
  const ask = async () => RunStatus.parse(await link.call('GET', '/run'))
  let status = await ask()
  if (status.phase === 'working')
    await link.call('POST', '/stop', { reason: task.state === 'finishing' ? task.message : 'the task is ending' })
  while (status.phase === 'working' && Date.now() < deadline) {
    await pause(SAVE_POLL_MS)
    status = await ask()
  }
  return status
}

/** Of a placement that is gone nobody answers, even if its connection still looks alive: its end may not have been heard. */
async function linkOf(context: TaskContext, placement: Placement, deadline: number): Promise<AgentLink | undefined> {
  while ((await statusOf(context, placement)) !== 'gone') {
    const link = context.links.ofLaunch(placement.launchId)
    if (link?.isAttached) return link
    if (Date.now() >= deadline) return undefined
    await pause(POLL_MS * 4)
  }
  return undefined
}

/** Writes down what the task's repository holds, and a result for a turn whose agent could give none. */
async function collect(context: TaskContext, taskId: Task['id']): Promise<void> {
  const task = context.store.getTask(taskId)
  if (task?.state !== 'finishing') return
  const refs = task.spec.workspace.kind === 'none' ? {} : await context.workspaces.refs(taskId)
  const snapshot = refs.snapshot ?? task.workspace.snapshot
  const known = task.turns.at(-1)?.result
  const promised = known?.commit
  const saved = refs.result ?? refs.checkpoint
  const stat =
    known === undefined && snapshot !== undefined && saved !== undefined
      ? await context.workspaces.diffStat(taskId, { from: snapshot, to: saved })
      : undefined
  context.store.changeTask(taskId, (now) => {
    if (now.state !== 'finishing') return undefined
    const turns = closeTurn(now, missingResult(now, stat?.files ?? 0))
    const isMissing = promised !== undefined && promised !== refs.result
    const last = turns.at(-1)
    if (last?.result && isMissing) turns[turns.length - 1] = { ...last, result: { ...last.result, incomplete: true } }
    return {
      turns,
      chargeUsd: now.turns.at(-1)?.result === undefined ? chargeForUnknown(now, undefined) : 0,
      workspace: {
        ...now.workspace,
        ...(refs.snapshot && { snapshot: refs.snapshot }),
        ...(refs.checkpoint && { checkpoint: refs.checkpoint }),
        ...(refs.result && { result: refs.result }),
      },
      events: isMissing
        ? [
            {
              type: 'warning',
              message: `the result ${promised?.slice(0, 12)} did not arrive; the last checkpoint is there`,
            },
          ]
        : [],
    }
  })
}

function missingResult(task: Task, filesChanged: number): RunResult | undefined {
  if (task.state !== 'finishing') return undefined
  const turn = task.turns.at(-1)
  const since = turn?.startedAt ?? turn?.createdAt ?? task.createdAt
  return {
    outcome: task.outcome,
    reason: task.reason,
    message: task.message,
    check: { verdict: 'none' },
    usage: task.turns.length === 1 ? task.usage : NO_USAGE,
    durationMs: Date.now() - Date.parse(since),
    filesChanged,
    incomplete: true,
  }
}

/** The agent is told to leave, and given a moment for it. */
async function letGo(context: TaskContext, placement: Placement, taskId: Task['id'], deadline: number): Promise<void> {
  const link = await linkOf(context, placement, Date.now())
  await link
    ?.call('POST', '/shutdown', {})
    .catch((error: unknown) => context.log.debug({ err: error, taskId }, 'the agent left without an answer'))
  await untilGone(context, placement, Math.min(Date.now() + LEAVE_GRACE_MS, deadline))
}

/** Nothing of it runs, and nothing of it dials in any more. */
async function remove(context: TaskContext, placement: Placement, taskId: Task['id'], deadline: number): Promise<void> {
  try {
    await launcherOf(context, placement).stop(placement, 'the task has ended')
  } catch (error) {
    context.log.error({ err: error, taskId, launchId: placement.launchId }, 'cannot stop the placement')
    if (Date.now() < deadline) throw error
    // The sweep for placements without a live task goes on trying for as long as it takes.
    const why = error instanceof Error ? error.message : String(error)
    const message = `its machine may still be there (${placement.launcher} ${placement.handle}): ${why}`
    context.store.changeTask(taskId, () => ({ events: [{ type: 'warning', message }] }))
  }
  context.links.ofLaunch(placement.launchId)?.close('the task has ended')
  context.store.closeLaunch(placement.launchId)
}

function launcherOf({ launchers }: TaskContext, { launcher: name }: Placement): Launcher {
  const launcher = launchers.get(name)
  if (launcher === undefined)
    throw new RclaudeError(
      'unavailable',
      `the configuration no longer has the launcher "${name}", which alone can stop it`,
    )
  return launcher
}

async function untilGone(context: TaskContext, placement: Placement, deadline: number): Promise<void> {
  for (let wait = POLL_MS; Date.now() < deadline && (await statusOf(context, placement)) !== 'gone'; wait *= 2)
    await pause(wait)
}

/** One of which its launcher says nothing may be alive: whoever waits for its end has a deadline. */
async function statusOf(context: TaskContext, placement: Placement): Promise<'alive' | 'gone'> {
  try {
    const status = (await inspectOne(context, placement))?.status
    return status === 'running' || status === 'pending' ? 'alive' : 'gone'
  } catch (error) {
    context.log.warn({ err: error, launchId: placement.launchId }, 'cannot ask whether the machine is there')
    return 'alive'
  }
}

async function inspectOne({ launchers }: TaskContext, placement: Placement): Promise<PlacementStatus | undefined> {
  return (await launchers.get(placement.launcher)?.inspect([placement]))?.get(placement.launchId)
}

/** As its launcher knows it; undefined when it has no price, or its launcher does not know, or is not to be had now. */
async function paidFor(context: TaskContext, placement: Placement): Promise<number | undefined> {
  if (placement.usdPerHour === undefined) return undefined
  try {
    const status = await inspectOne(context, placement)
    return status !== undefined && 'paidSeconds' in status ? status.paidSeconds : undefined
  } catch (error) {
    context.log.warn({ err: error, launchId: placement.launchId }, 'cannot ask what the machine is paid for')
    return undefined
  }
}

function end(
  context: TaskContext,
  taskId: Task['id'],
  { isCollected, paidSeconds }: { isCollected: boolean; paidSeconds: number | undefined },
): void {
  context.store.dropSecrets(taskId)
  context.store.changeTask(taskId, (task) => {
    if (task.state !== 'finishing') return undefined
    const { outcome, reason, message } = task
    const spent = machineCost(task, Date.now(), paidSeconds)
    const incomplete = !isCollected || task.turns.at(-1)?.result?.incomplete === true
    return {
      state: { state: 'ended', outcome, reason, message, endedAt: isoNow(), incomplete },
      turns: closeTurn(task, undefined),
      ...(spent && { machineCost: spent }),
      events: [{ type: 'state', state: 'ended', outcome, reason, message }],
    }
  })
}

async function until(condition: () => boolean, deadline: number): Promise<void> {
  while (!condition() && Date.now() < deadline) await pause(POLL_MS)
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
