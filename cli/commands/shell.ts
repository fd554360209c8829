/** `rclaude shell TASK`: a terminal in a running task, with the work's login shell or another command. */
import type { Command } from 'commander'
import type { TaskId } from '../../protocol/ids.ts'
import type { ProcessInfo, ProcessSpecInput } from '../../protocol/process.ts'
import type { Gateway } from '../api.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { oneLine } from '../neutralise.ts'
import { listProcesses } from '../process-name.ts'
import { findTask } from '../task-name.ts'
import { Recorder } from '../terminals/cast.ts'
import { escapeKey, needTerminal, TERMINAL_OPTIONS } from '../terminals/options.ts'
import { sizeOf, terminalSession, terminalSpec } from '../terminals/session.ts'
import type { World } from '../world.ts'

interface ShellOptions {
  record?: string
  recorded?: true
  workdir?: string
  escapeChar?: string
}

/** The task's own SHELL; without one (/bin/sh is ours) bash where there is one. */
const LOGIN_SHELL = [
  'shell="$SHELL"',
  '[ "$shell" = /bin/sh ] || [ -z "$shell" ] && shell=$(command -v bash || echo /bin/sh)',
  'export SHELL="$shell"',
  'exec "$shell" -l',
].join('\n')

export function define(world: World): Command {
  return newCommand('shell', 'open a terminal in a running task', [
    'rclaude shell @last                    ~. at the beginning of a line leaves, ~? helps',
    'rclaude shell k3m -- vim notes.txt',
    'rclaude shell --record work.cast k3m   and rclaude replay work.cast',
    'rclaude shell --recorded k3m           in the task, also after you have left; rclaude replay k3m/proc_...',
  ])
    .argument('<task>', 'id, beginning of an id, or @last')
    .argument('[command...]', 'instead of a login shell; after --')
    .usage('[options] <task> [-- command...]')
    .option('--record <file>', 'write what is shown to a file, as asciinema does')
    .option('--recorded', 'have the task record it, also while nobody looks: rclaude replay TASK/PROCESS')
    .option('-w, --workdir <dir>', 'relative to the workspace')
    .addOption(TERMINAL_OPTIONS.escapeChar())
    .action(act(world, shell))
}

async function shell(invocation: Invocation, name: string, words: string[], options: ShellOptions): Promise<number> {
  const { world, out } = invocation
  needTerminal(world)
  const command = [...words, ...(world.afterDashes ?? [])]
  const tty = { ...terminalSpec(world), ...(options.recorded && { record: true }) }
  const spec: ProcessSpecInput = {
    argv: command.length > 0 ? command : ['/bin/sh', '-c', LOGIN_SHELL],
    stdin: true,
    tty,
    ...(options.workdir !== undefined && { cwd: options.workdir }),
  }
  const gateway = await invocation.connect()
  const taskId = await findTask(gateway.client, name)
  for (const one of await abandoned(gateway, taskId))
    out.note(`rclaude: there is a terminal that nobody looks at${titleOf(one)}: rclaude attach ${taskId}/${one.id}`)
  const recorder =
    options.record === undefined ? undefined : new Recorder(options.record, sizeOf(world), tty.term ?? 'xterm-256color')
  return terminalSession(world, gateway, out, {
    taskId,
    spec,
    mode: 'write',
    interactive: true,
    escapeKey: escapeKey(options.escapeChar),
    recorder,
  })
}

const abandoned = async (gateway: Gateway, taskId: TaskId): Promise<ProcessInfo[]> =>
  (await listProcesses(gateway, taskId)).filter(({ tty, exit }) => tty?.viewers === 0 && exit === undefined)

function titleOf({ tty }: ProcessInfo): string {
  const title = oneLine(tty?.title ?? '')
  return title === '' ? '' : ` (${title})`
}
