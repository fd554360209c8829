/** What `top` draws of a task's machine. */
import type { TaskHealth } from '../protocol/health.ts'
import { formatBytes, formatSeconds } from '../protocol/units.ts'
import { oneLine } from './neutralise.ts'
import { count, renderTable, type Style } from './output.ts'
import { tunnelText } from './tunnel-health.ts'

const percent = (part: number, whole: number): string => `${Math.round((100 * part) / Math.max(whole, 1e-9))}%`

/** @param room lines that there are, for processes too; undefined for all */
export function healthLines(health: TaskHealth, style: Style, columns?: number, room?: number): string[] {
  const lines = facts(health).map(([name, value]) => `${style.dim(name.padEnd(9))}  ${oneLine(value)}`)
  const { agent } = health
  if (agent === undefined) return lines
  lines.push('')
  const processes =
    room === undefined ? agent.processes.top : agent.processes.top.slice(0, Math.max(1, room - lines.length - 2))
  const rows = processes.map((one) => [
    String(one.pid),
    percent(one.cpu, 1),
    formatBytes(one.memoryBytes),
    String(one.threads),
    one.processId ?? '',
    one.name,
  ])
  const heads = ['PID', 'CPU', 'MEMORY', 'THREADS', 'PROCESS', 'NAME'].map((title) => ({ title }))
  return [...lines, ...renderTable(heads, rows, style, columns)]
}

function facts(health: TaskHealth): (readonly [string, string])[] {
  const { agent, connection, state } = health
  const head = [
    ['task', `${health.taskId} ${state}${connection?.online === false ? ' (its machine is not connected)' : ''}`],
  ] as const
  const tunnel = tunnelText(connection?.tunnel)
  const way = tunnel === undefined ? [] : [['tunnel', tunnel] as const]
  if (agent === undefined) return [...head, ...way, ['machine', health.agentError ?? 'there is none at the moment']]
  const { cpu, memory, processes, started, disks } = agent
  const whose = agent.scope === 'task' ? ' (the task alone; others use the machine too)' : ''
  const held =
    cpu.throttled === undefined || cpu.throttled < 0.005 ? '' : `, held back ${percent(cpu.throttled, 1)} of the time`
  const killed = memory.oomKills ? `, ${memory.oomKills} killed for want of it` : ''
  return [
    ...head,
    ['up', `${formatSeconds(agent.uptimeSeconds)}${whose}`],
    ['cpu', `${cpu.used.toFixed(2)} of ${count(cpu.cores, 'core')} (${percent(cpu.used, cpu.cores)})${held}`],
    [
      'memory',
      `${formatBytes(memory.usedBytes)} of ${formatBytes(memory.limitBytes)} (${percent(memory.usedBytes, memory.limitBytes)})${killed}`,
    ],
    ...disks.map(
      (disk) =>
        [
          'disk',
          `${formatBytes(disk.freeBytes)} of ${formatBytes(disk.totalBytes)} free: ${disk.holds.join(', ')}`,
        ] as const,
    ),
    [
      'processes',
      `${processes.total}${processes.limit === undefined ? '' : ` of at most ${processes.limit}`}, ${started.running} started by people`,
    ],
    [
      'behind',
      `${count(health.eventsBehind ?? 0, 'event')}, ${formatBytes(started.heldBytes)} of output held for clients`,
    ],
    ...way,
  ]
}
