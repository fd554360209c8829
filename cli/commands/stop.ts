/** `rclaude stop TASK...`: returns when what they did is saved and their machines are gone. */
import type { Command } from 'commander'
import { routes } from '../../protocol/routes.ts'
import type { Task } from '../../protocol/task.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { findTask } from '../task-name.ts'
import { untilEnded } from '../wait.ts'
import type { World } from '../world.ts'

interface StopOptions {
  reason?: string
  wait: boolean
}

export function define(world: World): Command {
  return newCommand('stop', 'stop tasks; what they did is saved', [
    'rclaude stop @last',
    'rclaude stop $(rclaude ps -q)',
  ])
    .argument('<task...>', 'ids, beginnings of ids, or @last')
    .option('--reason <text>', 'told in the task')
    .option('--no-wait', 'return at once, before what they did is saved')
    .action(act(world, stop))
}

async function stop(invocation: Invocation, names: string[], options: StopOptions): Promise<undefined> {
  const { out } = invocation
  const { client } = await invocation.connect()
  const stopped: Task[] = []
  for (const taskId of await Promise.all(names.map((name) => findTask(client, name)))) {
    const body = options.reason === undefined ? {} : { reason: options.reason }
    stopped.push(await client.call(routes.stopTask, { params: { taskId }, body }))
  }
  const tasks = options.wait ? await Promise.all(stopped.map((task) => untilEnded(client, task))) : stopped
  if (out.json) return void (await out.data({ tasks }))
  for (const task of tasks)
    await out.line(`${task.id} ${task.state === 'ended' ? `has ended (${task.outcome})` : 'is stopping'}`)
}
