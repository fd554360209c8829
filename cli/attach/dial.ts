/** How an attach connection reaches a task's processes through the gateway. */
import type { ProcessSpecInput } from '../../protocol/process.ts'
import type { Gateway } from '../api.ts'
import { agentFor } from '../network.ts'
import type { World } from '../world.ts'
import type { Target } from './connection.ts'
import { type AttachPoint, attachPath } from './path.ts'

/** @param spec to start a process; without it one that is there is attached to */
export async function dialOf(
  world: Pick<World, 'env'>,
  gateway: Gateway,
  taskId: string,
  spec?: ProcessSpecInput,
): Promise<(point: AttachPoint) => Target> {
  const base = `${gateway.url.replace(/^http/, 'ws')}/v1/tasks/${taskId}`
  const agent = await agentFor(world, gateway.url)
  return (point) => ({ url: base + attachPath(point, spec), headers: gateway.client.headers, agent })
}
