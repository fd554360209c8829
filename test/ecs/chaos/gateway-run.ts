/**
 * One seeded run of a whole gateway: tasks with real agents on ECS, everything that can go wrong drawn by lot, and `kill -9` at
 * moments drawn by lot: while ECS is asked, between its effect and its answer, or just some time. Each time the gateway is started
 * again on the same data folder. In the end all tasks are stopped, and the store is held against what ECS has seen.
 */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { openStore } from '../../../gateway/store/sqlite.ts'
import { LaunchId } from '../../../protocol/ids.ts'
import { routes } from '../../../protocol/routes.ts'
import type { Task } from '../../../protocol/task.ts'
import type { Ecs } from '../../helpers/ecs/server.ts'
import { ecsSettings, startEcsSite } from '../../helpers/ecs/site.ts'
import { eventually } from '../../helpers/eventually.ts'
import { between, randomFrom } from '../../helpers/random.ts'
import { LATEST_MS, type Random, spreadFaults } from './faults.ts'
import { GatewayProcess } from './gateway-process.ts'
import { judge, launchOf, type Row } from './judge.ts'
import type { RunResult } from './run.ts'

const OPERATIONS = ['RunTask', 'RunTask', 'DescribeTasks', 'ListTasks', 'StopTask', 'RegisterTaskDefinition'] as const
const COMMANDS = [['sleep', '600'], ['true'], ['sh', '-c', 'echo made it; exit 3']]
const PATIENCE_MS = 60_000

const settings = {
  RCLAUDE_INTERVALS__RECONCILE: '100ms',
  RCLAUDE_INTERVALS__LAUNCH_RETRY: '50ms',
  RCLAUDE_LIMITS__LAUNCH_ATTEMPTS: '20',
}

export async function gatewayRun(seed: number): Promise<RunResult> {
  const random = randomFrom(seed)
  const { ecs } = await startEcsSite()
  const gateway = new GatewayProcess({ ...ecsSettings(ecs), ...settings })
  const ended: Task[] = []
  try {
    const ids = await live(random, ecs, gateway)
    await eventually('what lives is owned', () => isOwned(ecs, gateway), PATIENCE_MS)
    for (const taskId of ids) await gateway.ask((api) => api.call(routes.stopTask, { params: { taskId }, body: {} }))
    for (const taskId of ids)
      ended.push(await eventually(`${taskId} has ended`, async () => endOf(await taskOf(gateway, taskId)), PATIENCE_MS))
    await pause(LATEST_MS)
    await eventually('nothing lives', () => ecs.tasks().every(({ status }) => status === 'STOPPED'), PATIENCE_MS)
    await gateway.stop()
    const { rows, faults } = rowsIn(gateway, ecs, ended)
    const judgement = judge(ecs, rows)
    return {
      seed,
      launches: rows.length,
      kills: gateway.kills,
      ...judgement,
      faults: [...judgement.faults, ...faults, ...ended.flatMap(wrongEnd)],
    }
  } catch (error) {
    const why = `${error instanceof Error ? error.message : String(error)}; the end of the gateway's log:\n${gateway.log.slice(-4_000)}`
    return { seed, launches: 0, kills: gateway.kills, billedMs: 0, unownedMs: 0, faults: [why] }
  } finally {
    await gateway.remove()
    await ecs.close()
  }
}

/** Tasks are made, and the gateway is killed over them. @returns their ids */
async function live(random: Random, ecs: Ecs, gateway: GatewayProcess): Promise<Array<Task['id']>> {
  let isArmed = true
  const kill = async () => {
    if (isArmed) await gateway.kill()
  }
  const ids: Array<Task['id']> = []
  for (let left = between(random, 1, 3); left > 0; left--) {
    spreadFaults(ecs, random)
    const operation = OPERATIONS[between(random, 0, OPERATIONS.length - 1)] as string
    const when = random() < 0.5 ? 'before' : 'after'
    ecs.faults.next(operation, { kind: 'meanwhile', when, happens: kill })
    const command = COMMANDS[between(random, 0, COMMANDS.length - 1)] ?? []
    const headers = { 'idempotency-key': randomUUID() }
    const body = { agent: 'command' as const, command, workspace: { kind: 'none' as const } }
    ids.push((await gateway.ask((api) => api.call(routes.createTask, { body, headers }))).id)
  }
  for (let left = between(random, 0, 2); left > 0; left--) {
    await pause(between(random, 0, 1_500))
    await kill()
    await pause(between(random, 0, 200))
    await gateway.start().catch(() => {}) // killed again while it started: the next question starts it
  }
  isArmed = false
  return ids
}

const taskOf = (gateway: GatewayProcess, taskId: string): Promise<Task> =>
  gateway.ask((api) => api.call(routes.getTask, { params: { taskId } }))

const endOf = (task: Task): Task | undefined => (task.state === 'ended' ? task : undefined)

/** Whatever runs at ECS is the machine of a task that lives. */
async function isOwned(ecs: Ecs, gateway: GatewayProcess): Promise<boolean> {
  const { tasks } = await gateway.ask((api) => api.call(routes.listTasks, { query: { state: 'active' } }))
  const owned = new Set(tasks.flatMap((task) => ('placement' in task && task.placement ? [task.placement.handle] : [])))
  const isLaunching = tasks.some(({ state }) => state === 'queued' || state === 'launching')
  return !isLaunching && ecs.tasks().every(({ arn, status }) => status === 'STOPPED' || owned.has(arn))
}

/** The launches that ECS has heard of, as the store has them; and what is wrong with them there. */
function rowsIn(gateway: GatewayProcess, ecs: Ecs, ended: readonly Task[]): { rows: Row[]; faults: string[] } {
  const store = openStore(join(gateway.data, 'gateway.db'))
  const faults: string[] = []
  const placed = new Set<string>()
  try {
    const launchIds = new Set(ecs.tasks().map(launchOf))
    const rows = [...launchIds].flatMap((launchId): Row[] => {
      const launch = store.getLaunch(LaunchId.parse(launchId))
      if (launch === undefined) return []
      if (launch.closedAt === undefined) faults.push(`open: ${launchId} is not closed in the store`)
      // A task of one turn is paid for once: its other launches came to nothing.
      if (launch.placement !== undefined && placed.has(launch.taskId))
        faults.push(`doubled: machines of ${launch.taskId}`)
      if (launch.placement !== undefined) placed.add(launch.taskId)
      const seconds = ended.find(({ id }) => id === launch.taskId)?.machineCost?.seconds
      return [{ launchId, handle: launch.placement?.handle, paidMs: seconds && seconds * 1_000 }]
    })
    return { rows, faults }
  } finally {
    store.close()
  }
}

/** However often the gateway was killed, no task ends but by its work or by us. */
function wrongEnd(task: Task): string[] {
  if (task.state !== 'ended' || task.outcome === 'cancelled' || task.outcome === 'succeeded') return []
  if (task.outcome === 'failed' && task.reason === 'exit_code') return []
  return [`lost: ${task.id} ended as ${task.outcome} (${task.reason}): ${task.message}`]
}
