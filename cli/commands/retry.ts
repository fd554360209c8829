/** `rclaude retry TASK`: the same work from the same snapshot, as a new task. */
import type { Command } from 'commander'
import { routes } from '../../protocol/routes.ts'
import { type AgainOptions, finish, prepare, withAgainOptions } from '../again.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { readAll } from '../prompt.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

export function define(world: World): Command {
  const command = newCommand('retry', 'start the same work again as a new task', ['rclaude retry @last'])
  return withAgainOptions(command.argument('<task>', 'id, beginning of an id, or @last')).action(act(world, retry))
}

async function retry(invocation: Invocation, name: string, options: AgainOptions): Promise<number> {
  const gateway = await invocation.connect()
  const { client } = gateway
  const taskId = await findTask(client, name)
  const old = await client.call(routes.getTask, { params: { taskId } })
  const hidden = await prepare(invocation, gateway, old, options, () => readAll(invocation.world.stdin))
  const task = await client.call(routes.retryTask, { params: { taskId }, body: hidden })
  return finish(invocation, gateway, task, 0, options)
}
