/** `rclaude attach TASK` watches a task as `run` does; `rclaude attach TASK/PROCESS` takes up a process in it. */
import type { Command } from 'commander'
import { act, type Invocation, newCommand, wholeNumber } from '../command.ts'
import { findProcess } from '../process-name.ts'
import { processSession } from '../process-session.ts'
import { openView } from '../run-view.ts'
import { findTask } from '../task-name.ts'
import { escapeKey, TERMINAL_OPTIONS } from '../terminals/options.ts'
import { terminalSession } from '../terminals/session.ts'
import { watch } from '../watch.ts'
import type { World } from '../world.ts'

interface AttachOptions {
  since?: number
  interactive?: boolean
  readOnly?: boolean
  escapeChar?: string
}

export function define(world: World): Command {
  return newCommand('attach', 'watch a task, or take up a process in it', [
    'rclaude attach @last                   to its end; the exit code is its outcome',
    'rclaude attach k3m/proc_2hf7dk3mx9pq   output of the process from where it is held',
    'rclaude attach --read-only k3m/2hf7    look at a terminal',
  ])
    .argument('<task>', 'id, beginning of an id, or @last; with /PROCESS a process of it')
    .option('--since <seq>', 'only events after this number', wholeNumber)
    .option('-i, --interactive', 'of a process: pass standard input on; a terminal has it in any case')
    .option('--read-only', 'of a terminal: look at it, and type nothing')
    .addOption(TERMINAL_OPTIONS.escapeChar())
    .action(act(world, attach))
}

async function attach(invocation: Invocation, name: string, options: AttachOptions): Promise<number> {
  const { world, globals, out } = invocation
  const gateway = await invocation.connect()
  if (name.includes('/')) {
    const { taskId, process } = await findProcess(gateway, name)
    const processId = process.id
    if (process.tty !== undefined) {
      const interactive = world.stdin.isTTY === true || options.interactive === true
      const mode = options.readOnly === true || !interactive ? 'read' : 'write'
      const key = escapeKey(options.escapeChar)
      return terminalSession(world, gateway, out, { taskId, processId, mode, interactive, escapeKey: key })
    }
    return processSession(world, gateway, out, { taskId, processId, stdin: options.interactive === true })
  }
  const taskId = await findTask(gateway.client, name)
  const view = openView(world, { json: globals.json === true })
  return watch(world, gateway, taskId, view, { since: options.since ?? 0, unasked: 'detach' })
}
