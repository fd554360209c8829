/** `rclaude top`: what a task's machine is busy with, again and again; without a task, one line for each that runs. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Command } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import type { TaskHealth } from '../../protocol/health.ts'
import { routes } from '../../protocol/routes.ts'
import { formatBytes } from '../../protocol/units.ts'
import type { Gateway } from '../api.ts'
import { act, duration, type Invocation, newCommand } from '../command.ts'
import { healthLines } from '../health-view.ts'
import { renderTable, type Style, write } from '../output.ts'
import { findTask } from '../task-name.ts'
import { rttText } from '../tunnel-health.ts'
import type { World } from '../world.ts'

interface TopOptions {
  once?: boolean
  interval?: number
}

const INTERVAL_SECONDS = 2
/** Tasks that are asked when none is named. */
const MAX_TASKS = 100
/** Home; clears each line to its end as it is written, and what is below at the end: nothing flickers, nothing has to be restored. */
const HOME = '\u001b[H'
const CLEAR_SCREEN = '\u001b[2J'
const CLEAR_TO_END = '\u001b[K'
const CLEAR_BELOW = '\u001b[J'

export function define(world: World): Command {
  return newCommand('top', 'show what the machines of running tasks are busy with', [
    'rclaude top                 one line for each of your running tasks',
    'rclaude top @last           CPU, memory, disks, processes, tunnel; Ctrl-C leaves',
    'rclaude top k3m --once      print it once',
    'rclaude top k3m --json',
  ])
    .argument('[task]', 'id, beginning of an id, or @last')
    .option('--once', 'print it once, as is done when the output is no terminal')
    .option('-i, --interval <duration>', `time between two looks (${INTERVAL_SECONDS}s)`, duration)
    .action(act(world, top))
}

async function top(invocation: Invocation, name: string | undefined, options: TopOptions): Promise<undefined> {
  const { world, out } = invocation
  if (options.interval !== undefined && options.interval < 0.5)
    throw new RclaudeError('invalid', '--interval must be at least 0.5s')
  const gateway = await invocation.connect()
  const taskId = name === undefined ? undefined : await findTask(gateway.client, name)
  const look = () => (taskId === undefined ? lookAtAll(gateway) : lookAtOne(gateway, taskId))
  if (out.json) {
    const found = await look()
    return void (await out.data(taskId === undefined ? { tasks: found } : found[0]))
  }
  const draw = (found: readonly TaskHealth[], columns?: number, rows?: number) =>
    taskId === undefined
      ? overview(found, out.style, columns)
      : found.flatMap((one) => healthLines(one, out.style, columns, rows))
  if (options.once === true || world.stdout.isTTY !== true) {
    for (const line of draw(await look())) await out.line(line)
    return
  }
  await write(world.stdout, CLEAR_SCREEN)
  for (;;) {
    const found = await look()
    const { columns, rows } = sizeOf(world.stdout)
    const lines = draw(found, columns, rows).slice(0, rows === undefined ? undefined : rows - 1)
    await write(world.stdout, HOME + lines.map((line) => `${line}${CLEAR_TO_END}\n`).join('') + CLEAR_BELOW)
    await pause((options.interval ?? INTERVAL_SECONDS) * 1000)
  }
}

/** A terminal that does not know its size says 0. */
const sizeOf = ({ columns, rows }: NodeJS.WriteStream) => ({ columns: columns || undefined, rows: rows || undefined })

const lookAtOne = async ({ client }: Gateway, taskId: string): Promise<TaskHealth[]> => [
  await client.call(routes.taskHealth, { params: { taskId } }),
]

/** One that ends meanwhile is left out. */
async function lookAtAll(gateway: Gateway): Promise<TaskHealth[]> {
  const { tasks } = await gateway.client.call(routes.listTasks, { query: { state: 'running', limit: MAX_TASKS } })
  const found = await Promise.allSettled(tasks.map(({ id }) => lookAtOne(gateway, id)))
  return found.flatMap((one) => {
    if (one.status === 'fulfilled') return one.value
    if (one.reason instanceof RclaudeError && one.reason.code === 'not_found') return []
    throw one.reason
  })
}

function overview(found: readonly TaskHealth[], style: Style, columns?: number): string[] {
  if (found.length === 0) return ['no task is running']
  const heads = ['TASK', 'CPU', 'MEMORY', 'DISK FREE', 'PROCESSES', 'RTT', 'BEHIND', 'NOTE'].map((title) => ({ title }))
  return renderTable(heads, found.map(row), style, columns)
}

function row({ taskId, agent, agentError, connection, eventsBehind }: TaskHealth): string[] {
  const rtt = rttText(connection?.tunnel)
  if (agent === undefined) return [taskId, '', '', '', '', rtt, '', agentError ?? '']
  const { cpu, memory, disks, processes } = agent
  return [
    taskId,
    `${Math.round((cpu.used / cpu.cores) * 100)}%`,
    `${formatBytes(memory.usedBytes)} / ${formatBytes(memory.limitBytes)}`,
    disks.length === 0 ? '' : formatBytes(Math.min(...disks.map(({ freeBytes }) => freeBytes))),
    String(processes.total),
    rtt,
    String(eventsBehind ?? 0),
    '',
  ]
}
