/** `rclaude attach TASK` watches a task as `run` does; `rclaude attach TASK/PROCESS` takes up a process in it. */
import type { Command } from 'commander'
import { act, type Invocation, newCommand, wholeNumber } from '../command.ts'
import { findProcess } from '../process-name.ts'
import { processSession } from '../process-session.ts'
import { openView } from '../run-view.ts'
import { findTask } from '../task-name.ts'
import { watch } from '../watch.ts'
import type { World } from '../world.ts'

interface AttachOptions {
  since?: number
  interactive?: boolean
}

export function define(world: World): Command {
  return newCommand('attach', 'watch a task, or take up a process in it', [
    'rclaude attach @last                   to its end; the exit code is its outcome',
    'rclaude attach k3m/proc_2hf7dk3mx9pq   output of the process from where it is held',
  ])
    .argument('<task>', 'id, beginning of an id, or @last; with /PROCESS a process of it')
    .option('--since <seq>', 'only events after this number', wholeNumber)
    .option('-i, --interactive', 'of a process: pass standard input on')
    .action(act(world, attach))
}

async function attach(invocation: Invocation, name: string, options: AttachOptions): Promise<number> {
  const { world, globals, out } = invocation
  const gateway = await invocation.connect()
  if (name.includes('/')) {
    const { taskId, process } = await findProcess(gateway, name)
    return processSession(world, gateway, out, { taskId, processId: process.id, stdin: options.interactive === true })
  }
  const taskId = await findTask(gateway.client, name)
  const view = openView(world, { json: globals.json === true })
  return watch(world, gateway, taskId, view, { since: options.since ?? 0, unasked: 'detach' })
}
