/** `rclaude unshare TASK USER...`: takes a task back, and closes what they have open of it. */
import type { Command } from 'commander'
import { routes } from '../../protocol/routes.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

export function define(world: World): Command {
  return newCommand('unshare', 'take a task back from others', ['rclaude unshare @last bob'])
    .argument('<task>', 'id, beginning of an id, or @last')
    .argument('<user...>', 'names of users')
    .action(act(world, unshare))
}

async function unshare(invocation: Invocation, name: string, users: string[]): Promise<undefined> {
  const { out } = invocation
  const { client } = await invocation.connect()
  const taskId = await findTask(client, name)
  for (const user of users) await client.call(routes.unshare, { params: { taskId, user } })
  if (out.json) return void (await out.data({ taskId, unshared: users }))
  for (const user of users) await out.line(`${taskId} is not shared with ${user}`)
}
