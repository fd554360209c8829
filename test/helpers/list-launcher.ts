/** A launcher of machines that are only a list. Their agents never dial, so tasks stay `starting` until they are stopped. */
import type { Launcher } from '../../gateway/launchers/launcher.ts'
import type { Offers } from '../../protocol/machine.ts'
import type { Placement, Task } from '../../protocol/task.ts'

/** @param refusals the first so many launches are refused with these */
export function listLauncher(refusals: Error[] = [], offers: Offers = {}): Launcher & { launches: string[] } {
  const placements = new Map<string, Placement & { taskId: Task['id'] }>()
  const launches: string[] = []
  return {
    name: 'list',
    isolation: 'container',
    offers,
    launches,
    async launch({ launchId, taskId }) {
      const refusal = refusals[launches.push(launchId) - 1]
      if (refusal) throw refusal
      const placement = { launchId, launcher: 'list', handle: 'one', startedAt: new Date().toISOString() }
      placements.set(launchId, { ...placement, taskId })
      return placement
    },
    inspect: async (asked) =>
      new Map(asked.map(({ launchId }) => [launchId, { status: placements.has(launchId) ? 'running' : 'gone' }])),
    stop: async ({ launchId }) => void placements.delete(launchId),
    list: async () => [...placements.values()],
  }
}
