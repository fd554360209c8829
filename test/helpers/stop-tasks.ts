/** For tests that leave tasks running: ends them before the world is closed, which proves that nothing is left. */
import { onTestFinished } from 'vitest'
import { routes } from '../../protocol/routes.ts'
import type { World } from './world.ts'

export function stopTasksAfterwards(world: World): void {
  onTestFinished(async () => {
    const { tasks } = await world.api().call(routes.listTasks, { query: { state: 'active' } })
    for (const { id } of tasks) await world.api().call(routes.stopTask, { params: { taskId: id }, body: {} })
    for (const { id } of tasks) await world.ended(id)
  }, 60_000)
}
