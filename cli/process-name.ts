/** How users name a process: TASK/PROCESS, the second its id or the beginning of it, with or without `proc_`. */
import { z } from 'zod'
import { RclaudeError } from '../protocol/errors.ts'
import type { ProcessId, TaskId } from '../protocol/ids.ts'
import { ProcessInfo } from '../protocol/process.ts'
import { routes } from '../protocol/routes.ts'
import type { Gateway } from './api.ts'
import { findTask } from './task-name.ts'

const Processes = z.object({ processes: z.array(ProcessInfo) })
const SHOWN_CANDIDATES = 5

export interface NamedProcess {
  taskId: TaskId
  process: ProcessInfo
}

/** Those that run, and the newest of those that ended; oldest first. */
export async function listProcesses({ client }: Gateway, taskId: TaskId): Promise<ProcessInfo[]> {
  const response = await client.raw(routes.listProcesses, { params: { taskId } })
  return Processes.parse(await response.json()).processes
}

/** @throws {RclaudeError} `invalid`, naming the candidates when there are several */
export async function findProcess(gateway: Gateway, name: string): Promise<NamedProcess> {
  const [found] = await findProcesses(gateway, [name])
  return found as NamedProcess
}

/** In the order of `names`; each task is asked once, however many of its processes are named. */
export async function findProcesses(gateway: Gateway, names: readonly string[]): Promise<NamedProcess[]> {
  const wanted = names.map((name) => split(name))
  const tasks = new Map<string, { taskId: TaskId; processes: ProcessInfo[] }>()
  for (const { task } of wanted) {
    if (tasks.has(task)) continue
    const taskId = await findTask(gateway.client, task)
    tasks.set(task, { taskId, processes: await listProcesses(gateway, taskId) })
  }
  return wanted.map(({ task, prefix }) => {
    const { taskId, processes } = tasks.get(task) as { taskId: TaskId; processes: ProcessInfo[] }
    return { taskId, process: onlyOne(taskId, prefix, processes) }
  })
}

function split(name: string): { task: string; prefix: string } {
  const [task = '', process = '', ...more] = name.split('/')
  if (task === '' || !/^(proc_)?[a-z0-9]{1,12}$/.test(process) || more.length > 0)
    throw new RclaudeError(
      'invalid',
      `"${name}" names no process: give TASK/PROCESS; rclaude processes ${task || 'TASK'} lists them`,
    )
  return { task, prefix: process.startsWith('proc_') ? process : `proc_${process}` }
}

function onlyOne(taskId: TaskId, prefix: string, processes: readonly ProcessInfo[]): ProcessInfo {
  const [first, ...others] = processes.filter(({ id }) => id.startsWith(prefix))
  if (first !== undefined && others.length === 0) return first
  const what = first === undefined ? 'no process' : 'more than one process'
  const some = idsOf(first === undefined ? processes : [first, ...others])
  throw new RclaudeError('invalid', `${what} of ${taskId} begins with "${prefix}"; it has ${some}`)
}

function idsOf(processes: readonly { id: ProcessId }[]): string {
  if (processes.length === 0) return 'none'
  const newest = processes.slice(-SHOWN_CANDIDATES).map(({ id }) => id)
  const more = processes.length - newest.length
  return newest.join(', ') + (more > 0 ? ` and ${more} older` : '')
}
