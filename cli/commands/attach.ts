/** `rclaude attach TASK` watches a task as `run` does; `rclaude attach TASK/PROCESS` takes up a process in it. */
import type { Command } from 'commander'
import { z } from 'zod'
import { RclaudeError } from '../../protocol/errors.ts'
import { ProcessInfo } from '../../protocol/process.ts'
import { routes } from '../../protocol/routes.ts'
import type { Gateway } from '../api.ts'
import { act, type Invocation, newCommand, wholeNumber } from '../command.ts'
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

const Processes = z.object({ processes: z.array(ProcessInfo) })

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
  const [taskName = '', processName] = name.split('/')
  const taskId = await findTask(gateway.client, taskName)
  if (processName !== undefined) {
    const { id: processId, tty } = await findProcess(gateway, taskId, processName)
    if (tty !== undefined) {
      const interactive = world.stdin.isTTY === true || options.interactive === true
      const mode = options.readOnly === true || !interactive ? 'read' : 'write'
      const key = escapeKey(options.escapeChar)
      return terminalSession(world, gateway, out, { taskId, processId, mode, interactive, escapeKey: key })
    }
    return processSession(world, gateway, out, { taskId, processId, stdin: options.interactive === true })
  }
  const view = openView(world, { json: globals.json === true })
  return watch(world, gateway, taskId, view, { since: options.since ?? 0, unasked: 'detach' })
}

export async function processesOf({ client }: Gateway, taskId: string): Promise<ProcessInfo[]> {
  const response = await client.raw(routes.listProcesses, { params: { taskId } })
  return Processes.parse(await response.json()).processes
}

async function findProcess(gateway: Gateway, taskId: string, name: string): Promise<ProcessInfo> {
  const processes = await processesOf(gateway, taskId)
  const prefix = name.startsWith('proc_') ? name : `proc_${name}`
  const [first, second] = processes.filter(({ id }) => id.startsWith(prefix))
  if (first === undefined || second !== undefined)
    throw new RclaudeError(
      'invalid',
      `${first === undefined ? 'no process' : 'more than one process'} of ${taskId} begins with "${name}"; it has ${processes.map(({ id }) => id).join(', ') || 'none'}`,
    )
  return first
}
