/** What the launchers run, beside what the store knows: for administrators, and before a held gateway may stop anything. */
import { within } from '../../host/within.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import type { LaunchId, TaskId } from '../../protocol/ids.ts'
import type {
  ForeignPlacement,
  ListedPlacement,
  SurveyedPlacement,
  SweptPlacement,
} from '../../protocol/routes/placements.ts'
import type { Placement } from '../../protocol/task.ts'
import type { Launcher, PlacementStatus } from '../launchers/launcher.ts'
import type { TaskContext } from './context.ts'
import { paidUntil, usdFor } from './machine-cost.ts'
import { isOwned, stopOrphan } from './orphans.ts'
import { readable } from './readable.ts'

/** Which launcher, all when none is named, and how long an answer waits; the stop itself goes on. */
interface StopOptions {
  launcher?: string | undefined
  waitSeconds: number
}

const NOT_TOLD: PlacementStatus = { status: 'gone', reason: 'placement_gone' }

type Owned = Placement & { taskId: TaskId; isKnown: boolean }

/** @throws RclaudeError `not_found`, naming those that there are */
export function launcherNamed({ launchers }: Pick<TaskContext, 'launchers'>, name: string): Launcher {
  const launcher = launchers.get(name)
  if (launcher !== undefined) return launcher
  throw new RclaudeError(
    'not_found',
    `this gateway has no launcher "${name}", but ${[...launchers.keys()].join(', ')} (launchers.${name} of its configuration)`,
  )
}

const chosen = (context: TaskContext, only: string | undefined): Launcher[] =>
  only === undefined ? [...context.launchers.values()] : [launcherNamed(context, only)]

/**
 * Placements of living tasks first, then those that no living task here owns: they are stopped once the gateway may.
 * A launcher that cannot be asked is an error: a list with holes would be taken for the whole.
 */
async function survey(context: TaskContext, launchers: readonly Launcher[]): Promise<Owned[]> {
  const { store } = context
  const names = new Set(launchers.map(({ name }) => name))
  const found = new Map<LaunchId, Owned>()
  for (const taskId of store.activeTaskIds()) {
    const task = readable(context, taskId)
    if (task === undefined || !('placement' in task) || task.placement === undefined) continue
    if (names.has(task.placement.launcher))
      found.set(task.placement.launchId, { ...task.placement, taskId, isKnown: true })
  }
  for (const { placement } of context.stoppingOrphans.values())
    if (names.has(placement.launcher) && !found.has(placement.launchId))
      found.set(placement.launchId, { ...placement, isKnown: false })
  for (const launcher of launchers)
    for (const placement of await asked(launcher, launcher.list()))
      if (!found.has(placement.launchId))
        found.set(placement.launchId, {
          ...placement,
          isKnown: isOwned(context, placement.taskId, placement.launchId),
        })
  return [...found.values()]
}

async function asked<T>({ name }: Launcher, answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (error) {
    throw new RclaudeError('unavailable', `launcher "${name}" cannot be asked: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

const told = ({ taskId, launchId, launcher, handle, startedAt, isKnown, usdPerHour }: Owned): SurveyedPlacement => ({
  ...{ taskId, launchId, launcher, handle, startedAt, isKnown },
  ...(usdPerHour !== undefined && { usdPerHour }),
})

export async function surveyPlacements(context: TaskContext): Promise<SurveyedPlacement[]> {
  return (await survey(context, chosen(context, undefined))).map(told)
}

/** With what each launcher says of each. */
export async function listPlacements(context: TaskContext, only: string | undefined): Promise<ListedPlacement[]> {
  const listed: ListedPlacement[] = []
  for (const launcher of chosen(context, only)) {
    const found = await survey(context, [launcher])
    const statuses = found.length === 0 ? undefined : await asked(launcher, launcher.inspect(found))
    for (const placement of found) {
      const said = statuses?.get(placement.launchId) ?? NOT_TOLD
      const detail = 'detail' in said ? said.detail : undefined
      const { usdPerHour } = placement
      const paid = { ...placement, ...('paidFrom' in said && { paidFrom: said.paidFrom }) }
      const seconds = ('paidSeconds' in said ? said.paidSeconds : undefined) ?? paidUntil(Date.now(), paid, true)
      listed.push({
        ...told(placement),
        status: mayRun(said) && context.stoppingOrphans.has(placement.launchId) ? 'stopping' : said.status,
        ...(detail !== undefined && { detail }),
        ...(usdPerHour !== undefined && { usd: usdFor(seconds, usdPerHour) }),
      })
    }
  }
  return listed
}

const mayRun = ({ status }: PlacementStatus): boolean => status === 'running' || status === 'pending'

export async function listForeign(context: TaskContext, only: string | undefined): Promise<ForeignPlacement[]> {
  const found: ForeignPlacement[] = []
  for (const launcher of chosen(context, only))
    for (const one of (launcher.listForeign && (await asked(launcher, launcher.listForeign()))) ?? [])
      found.push({ launcher: launcher.name, ...one })
  return found
}

/** @throws RclaudeError `not_found`; `conflict` when a living task owns it, or the gateway is held */
export async function stopPlacement(
  context: TaskContext,
  launchId: LaunchId,
  { launcher, waitSeconds }: StopOptions,
): Promise<SweptPlacement> {
  refuseHeld(context)
  const placement = (await survey(context, chosen(context, launcher))).find((one) => one.launchId === launchId)
  if (placement === undefined) throw new RclaudeError('not_found', `no launcher runs anything of launch ${launchId}`)
  if (placement.isKnown)
    throw new RclaudeError(
      'conflict',
      `it belongs to ${placement.taskId}, which lives: rclaude stop ${placement.taskId} stops both`,
    )
  return await sweepOne(context, placement, waitSeconds)
}

/** All at once: each takes as long as its machine takes to stop. */
export async function sweepPlacements(
  context: TaskContext,
  { launcher, dryRun, waitSeconds }: StopOptions & { dryRun: boolean },
): Promise<SweptPlacement[]> {
  if (!dryRun) refuseHeld(context)
  const orphans = (await survey(context, chosen(context, launcher))).filter(({ isKnown }) => !isKnown)
  if (dryRun) return orphans.map((placement) => ({ ...told(placement), result: 'would_stop' as const }))
  return await Promise.all(orphans.map((placement) => sweepOne(context, placement, waitSeconds)))
}

async function sweepOne(context: TaskContext, placement: Owned, waitSeconds: number): Promise<SweptPlacement> {
  const stopping = stopOrphan(context, launcherNamed(context, placement.launcher), placement)
  try {
    const stopped = stopping.then(() => 'stopped' as const)
    const result = await within(waitSeconds * 1_000, stopped, () => 'stopping' as const)
    return { ...told(placement), result }
  } catch (error) {
    return { ...told(placement), result: 'failed', message: (error as Error).message }
  }
}

function refuseHeld(context: TaskContext): void {
  const why = context.held()
  if (why !== undefined) throw new RclaudeError('conflict', `${why}; nothing is stopped until then`)
}

/** To the log, at the start. */
export async function reportHeld(context: TaskContext): Promise<void> {
  context.log.warn(`${context.held()}; nothing is launched or stopped until then`)
  try {
    for (const placement of await surveyPlacements(context))
      context.log.warn(placement, placement.isKnown ? 'a placement of a task' : 'a placement that no task here owns')
  } catch (error) {
    context.log.error({ err: error }, 'cannot list what the launchers run')
  }
}
