/** What the launchers run, beside what the store knows: shown to an administrator before a held gateway may stop anything. */
import type { HeldPlacement } from '../../protocol/routes/gateway.ts'
import type { TaskContext } from './context.ts'

/**
 * Placements of living tasks first, then those that no living task here owns: they are stopped once the gateway may.
 * A launcher that cannot be asked is an error: a list with holes would be taken for the whole.
 */
export async function surveyPlacements({ store, launchers }: TaskContext): Promise<HeldPlacement[]> {
  const placements = new Map<string, HeldPlacement>()
  for (const taskId of store.activeTaskIds()) {
    const task = store.getTask(taskId)
    if (task === undefined || !('placement' in task) || task.placement === undefined) continue
    const { launchId, launcher, handle, startedAt } = task.placement
    placements.set(launchId, { taskId, launchId, launcher, handle, startedAt, isKnown: true })
  }
  for (const launcher of launchers.values())
    for (const { taskId, launchId, handle, startedAt } of await launcher.list())
      if (!placements.has(launchId))
        placements.set(launchId, { taskId, launchId, launcher: launcher.name, handle, startedAt, isKnown: false })
  return [...placements.values()]
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
