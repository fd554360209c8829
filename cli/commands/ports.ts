/** `rclaude ports TASK`: what listens in a task. */
import type { Command } from 'commander'
import { type ListeningPort, ListeningPorts } from '../../protocol/port.ts'
import { routes } from '../../protocol/routes.ts'
import { act, type Invocation, newCommand } from '../command.ts'
import { findTask } from '../task-name.ts'
import type { World } from '../world.ts'

interface PortsOptions {
  all?: boolean
}

export function define(world: World): Command {
  return newCommand('ports', 'list the ports that listen in a task', [
    'rclaude ports @last',
    'rclaude ports @last --all   also those of others on the same machine',
  ])
    .argument('<task>', 'id, beginning of an id, or @last')
    .option('-a, --all', "not only those of the task's own processes")
    .action(act(world, ports))
}

async function ports(invocation: Invocation, name: string, options: PortsOptions): Promise<undefined> {
  const { out } = invocation
  const { client } = await invocation.connect()
  const taskId = await findTask(client, name)
  const response = await client.raw(routes.listPorts, { params: { taskId } })
  const { ports: all } = ListeningPorts.parse(await response.json())
  const shown = options.all === true ? all : all.filter(({ own }) => own !== false)
  if (out.json) return void (await out.data({ taskId, ports: shown }))
  if (shown.length === 0) return void out.note(`rclaude: nothing listens in ${taskId}${moreText(all.length)}`)
  await out.table([{ title: 'PORT' }, { title: 'ADDRESS' }, { title: 'PID' }, { title: 'COMMAND' }], shown.map(rowOf))
}

const rowOf = ({ port, addresses, pid, command }: ListeningPort): string[] => [
  String(port),
  addresses.join(', '),
  pid === undefined ? '' : String(pid),
  command ?? '',
]

const moreText = (others: number): string =>
  others === 0 ? '' : `; ${others} ports of others on its machine do (--all)`
