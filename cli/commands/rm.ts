/** `rclaude rm TASK...`: deletes ended tasks with their events, workspaces and artifacts. */
import type { Command } from 'commander'
import { routes } from '../../protocol/routes.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { findTask } from '../task-name.ts'
import { untilEnded } from '../wait.ts'
import type { World } from '../world.ts'

export function define(world: World): Command {
  return newCommand('rm', 'delete tasks with all they left', ['rclaude rm k3m', 'rclaude rm -f @last    stop it first'])
    .argument('<task...>', 'ids, beginnings of ids, or @last')
    .option('-f, --force', 'stop those that have not ended')
    .action(act(world, rm))
}

async function rm(invocation: Invocation, names: string[], options: { force?: boolean }): Promise<undefined> {
  const { out } = invocation
  const { client } = await invocation.connect()
  const ids = await Promise.all(names.map((name) => findTask(client, name)))
  for (const taskId of ids) {
    const params = { taskId }
    if (options.force === true) {
      const task = await client.call(routes.stopTask, { params, body: { reason: 'deleted by its user' } })
      await untilEnded(client, task)
    }
    await client.call(routes.deleteTask, { params })
    if (!out.json) await out.line(`deleted ${taskId}`)
  }
  if (out.json) await out.data({ deleted: ids })
}
