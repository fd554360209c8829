/** The built gateway and CLI with the ECS launcher, at the ECS of the tests: credentials and SDK as a user has them. */
import { onTestFinished } from 'vitest'
import { stopTasksAfterwards } from '../stop-tasks.ts'
import { startWorld, type World } from '../world.ts'
import type { Ecs } from './server.ts'
import { IMAGE, startEcsSite } from './site.ts'

/** Environment of a gateway whose tasks run there. */
export const ecsSettings = (ecs: Ecs): Record<string, string> => ({
  AWS_ACCESS_KEY_ID: ecs.credentials.accessKeyId,
  AWS_SECRET_ACCESS_KEY: ecs.credentials.secretAccessKey,
  RCLAUDE_LAUNCHERS__DEFAULT: 'ecs',
  RCLAUDE_LAUNCHERS__ECS__IMAGE: IMAGE,
  RCLAUDE_LAUNCHERS__ECS__CLUSTER: 'rclaude',
  RCLAUDE_LAUNCHERS__ECS__REGION: 'eu-central-1',
  RCLAUDE_LAUNCHERS__ECS__ENDPOINT: ecs.url,
  RCLAUDE_LAUNCHERS__ECS__SUBNETS: '[subnet-0a]',
})

export async function ecsWorld(more: Record<string, string> = {}): Promise<{ ecs: Ecs; world: World }> {
  const { ecs } = await startEcsSite()
  onTestFinished(() => ecs.close())
  const world = await startWorld({ settings: { ...ecsSettings(ecs), ...more } })
  stopTasksAfterwards(world)
  return { ecs, world }
}
