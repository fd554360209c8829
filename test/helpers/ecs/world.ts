/** The built gateway and CLI with the ECS launcher, at the ECS of the tests: credentials and SDK as a user has them. */
import { onTestFinished } from 'vitest'
import { stopTasksAfterwards } from '../stop-tasks.ts'
import { startWorld, type World } from '../world.ts'
import type { Ecs } from './server.ts'
import { ecsSettings, startEcsSite } from './site.ts'

export async function ecsWorld(more: Record<string, string> = {}): Promise<{ ecs: Ecs; world: World }> {
  const { ecs } = await startEcsSite()
  onTestFinished(() => ecs.close())
  const world = await startWorld({ settings: { ...ecsSettings(ecs), ...more } })
  stopTasksAfterwards(world)
  return { ecs, world }
}
