/** `rclaude processes TASK`: what was started in a task with exec, and how it stands. */
import { constants } from 'node:os'
import type { Command } from 'commander'
import { exitCodeOfProcess, type ProcessInfo } from '../../protocol/process.ts'
import { formatBytes } from '../../protocol/units.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { listProcesses } from '../process-name.ts'
import { findTask } from '../task-name.ts'
import { agoText } from '../times.ts'
import type { World } from '../world.ts'

interface ProcessesOptions {
  all?: boolean
  quiet?: boolean
}

export function define(world: World): Command {
  return newCommand('processes', 'list what exec started in a task', [
    'rclaude processes @last                        those that run',
    'rclaude processes -a k3m                       those that ended too; their output can still be had',
    'rclaude attach k3m/proc_2hf7dk3mx9pq           take one up again',
    'rclaude kill $(rclaude processes -q k3m)       end them all',
  ])
    .argument('<task>', 'id, beginning of an id, or @last')
    .option('-a, --all', 'those that have ended too')
    .option('-q, --quiet', 'print TASK/PROCESS only')
    .action(act(world, processes))
}

async function processes(invocation: Invocation, name: string, options: ProcessesOptions): Promise<undefined> {
  const { out } = invocation
  const gateway = await invocation.connect()
  const taskId = await findTask(gateway.client, name)
  const found = await listProcesses(gateway, taskId)
  const shown = options.all === true ? found : found.filter(({ exit }) => exit === undefined)
  if (out.json) return void (await out.data({ taskId, processes: shown }))
  if (options.quiet === true) {
    for (const { id } of shown) await out.line(`${taskId}/${id}`)
    return
  }
  if (shown.length === 0) {
    const more = found.length > 0 ? ' (-a lists those that ended)' : ''
    out.note(`no process of exec ${options.all === true ? 'was started' : 'runs'} in ${taskId}${more}`)
    return
  }
  const now = Date.now()
  await out.table(
    ['PROCESS', 'STATE', 'AGE', 'OUTPUT', 'COMMAND'].map((title) => ({ title })),
    shown.map((one) => [
      one.id,
      stateText(one),
      agoText(one.startedAt, now),
      formatBytes(one.stdout.end + one.stderr.end),
      one.argv.join(' '),
    ]),
  )
}

/** As a shell counts exit codes; `detached` runs on without anybody. */
export function stateText({ exit, detached }: ProcessInfo): string {
  if (exit === undefined) return detached ? 'detached' : 'running'
  const how = exit.signal ?? `exit ${exitCodeOfProcess(exit, constants.signals)}`
  return exit.reason === undefined ? how : `${how} (${exit.reason})`
}
