/** Behaviour 30: after every run nothing lives, nothing was bought twice, and what was paid for is what our rows say. */
import { LaunchId } from '../../../protocol/ids.ts'
import type { Ecs } from '../../helpers/ecs/server.ts'
import type { EcsTask } from '../../helpers/ecs/task.ts'

export interface Judgement {
  /** What went wrong that must not. */
  faults: string[]
  /** Of all tasks of ECS. */
  billedMs: number
  /** Of ghosts, which ECS starts after it has said that it would not: paid for, and nobody's. */
  unownedMs: number
}

/** What a gateway has on its disk of one launch. */
export interface Row {
  launchId: string
  /** TaskARN, once there is one. */
  handle: string | undefined
  /** What the row says that its machine was paid for; undefined when it says nothing. */
  paidMs: number | undefined
  /** Its launch was cut off so often that nobody asks for it any more: what comes of it is an orphan. */
  isGivenUp?: boolean
}

/** ECS tells its times to the millisecond, as a fraction of seconds: each of the two ends may be off by less than one. */
const TOLERANCE_MS = 2

export function judge(ecs: Ecs, rows: readonly Row[]): Judgement {
  const faults = [...ecs.problems]
  const byLaunch = new Map<string, EcsTask[]>()
  for (const task of ecs.tasks()) {
    if (task.status !== 'STOPPED') faults.push(`leaked: ${task.arn} is ${task.status}`)
    const launchId = launchOf(task)
    byLaunch.set(launchId, [...(byLaunch.get(launchId) ?? []), task])
  }
  const known = new Set(rows.map(({ launchId }) => launchId))
  const owned = new Set<EcsTask>()
  for (const [launchId, tasks] of byLaunch) {
    if (!known.has(launchId)) faults.push(`${launchId} was bought and is in no row`)
    // Ghosts are started after ECS has said that it would not: those nobody can help, but they must be stopped.
    const asked = tasks.filter(({ options }) => !options.isGhost)
    if (asked.length > 1) faults.push(`doubled: ${asked.length} tasks for ${launchId}`)
  }
  for (const { launchId, handle, paidMs } of rows) {
    if (handle === undefined) continue
    const task = byLaunch.get(launchId)?.find(({ arn }) => arn === handle)
    if (task === undefined) {
      faults.push(`${launchId} has a placement that was never bought`)
      continue
    }
    owned.add(task)
    if (paidMs === undefined || Math.abs(paidMs - task.billedMs) > TOLERANCE_MS)
      faults.push(`billed: ${task.billedMs} ms for ${launchId}, whose row says ${paidMs} ms`)
  }
  const givenUp = new Set(rows.filter(({ isGivenUp }) => isGivenUp).map(({ launchId }) => launchId))
  for (const task of ecs.tasks())
    if (task.billedMs > 0 && !owned.has(task) && !task.options.isGhost && !givenUp.has(launchOf(task)))
      faults.push(`unowned: ${task.billedMs} ms were paid for ${task.arn}, which no row has: ${task.stoppedReason}`)
  const sum = (tasks: readonly EcsTask[]) => tasks.reduce((ms, { billedMs }) => ms + billedMs, 0)
  const all = ecs.tasks()
  return { faults, billedMs: sum(all), unownedMs: sum(all.filter((task) => !owned.has(task))) }
}

export const launchOf = (task: EcsTask): string =>
  task.options.request.overrides?.containerOverrides?.[0]?.environment?.find(
    ({ value = '' }) => LaunchId.safeParse(value).success,
  )?.value ?? ''
