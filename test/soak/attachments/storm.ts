/**
 * A storm: a hundred live attachments to one task, while the tunnel under them is cut at random and the gateway is killed
 * and started again. At the end every byte and event has come once, and every exit code is right. The time until
 * echoes are as quick as before is measured after each disturbance.
 *
 * Everything is real: the built gateway, an agent that the `process` launcher starts, the CLI's own attach and follow code.
 * Only the relay that the agent dials through is ours.
 */
import { setMaxListeners } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { routes } from '../../../protocol/routes.ts'
import type { Task } from '../../../protocol/task.ts'
import { eventually } from '../../helpers/eventually.ts'
import { bytesFrom, randomFrom } from '../../helpers/random.ts'
import { World } from '../../helpers/world.ts'
import { type Attachment, messageOf, type Stage } from './attachment.ts'
import { type CpuShare, type CpuWatch, watchCpu } from './cpu.ts'
import { carryOut, type Happened } from './disturb.ts'
import { checkEvents, TICKING } from './events.ts'
import { birth, type Runs } from './exec.ts'
import { DOWNLOADED, findLeftovers, putFile } from './files.ts'
import { kindOf, outcomes, startFleet } from './fleet.ts'
import { type Baseline, baselineOf, levels, type Recovery, recoveryOf } from './recovery.ts'
import { startRelay } from './relay.ts'
import { describe, type PlanOptions, planStorm } from './schedule.ts'

export interface StormOptions extends PlanOptions {
  attachments: number
  /** Folder of the built programs. */
  dist?: string
  warmUpMs?: number
  calmMs?: number
  log(line: string): void
}

export interface StormReport {
  /** What the product did wrong; empty is what we want. */
  faults: string[]
  baseline: Baseline
  /** `starved`: who waited most for a processor while it was mended. */
  disturbances: Array<Happened & { recovery: Recovery; starved: CpuShare | undefined }>
  /** Medians over the run, ms. */
  levels: number[]
  cpu: CpuShare[]
  /** By kind of attachment: how many, what was compared, how often they lost their connection. */
  tallies: Record<string, { count: number; checked: number; retries: number }>
  dials: number
}

/** The level before is that of the second half: a fleet that starts is louder than one that works. */
const WARM_UP_MS = 10_000
/** After the last disturbance, so that its end can be measured. */
const CALM_MS = 8_000
/** The run's levels are shown for so much time each. */
export const LEVEL_MS = 10_000
const END_MS = 90_000
const DOWNLOAD_BYTES = 1024 * 1024
/** Processes that are started right before something breaks. */
const BIRTHS = 8

export async function runStorm(options: StormOptions): Promise<StormReport> {
  const plan = planStorm(options)
  for (const planned of plan) options.log(`plan: after ${(planned.afterMs / 1000).toFixed(2)} s ${describe(planned)}`)
  const world = new World()
  if (options.dist !== undefined) world.dist = options.dist
  let gatewayPort = 0
  const ending = new AbortController()
  setMaxListeners(0, ending.signal) // every attachment listens
  const relay = await startRelay(() => gatewayPort)
  world.settings.RCLAUDE_AGENT_URL = `http://127.0.0.1:${relay.port}`
  let cpu: CpuWatch | undefined
  try {
    await world.startGateway()
    gatewayPort = Number(new URL(world.url).port)
    const stage = await prepare(world, options, ending.signal)
    const agent = agentPid(await world.getTask(stage.taskId))
    const watch = watchCpu(() => ({ agent, gateway: world.gatewayPid, clients: process.pid }))
    cpu = watch
    const runs: Runs = { started: [], file: 'runs' }
    const content = bytesFrom(stage.random, DOWNLOAD_BYTES)
    await putFile(stage, DOWNLOADED, content)
    const { lastSeq } = await world.getTask(stage.taskId)
    const fleet = await startFleet(stage, { attachments: options.attachments, content, runs, lastSeq })
    options.log(`${fleet.length} attachments are live`)

    const warmUpMs = options.warmUpMs ?? WARM_UP_MS
    await pause(warmUpMs)
    const calm = { fromMs: performance.now() - warmUpMs / 2, toMs: performance.now() }
    let born = 0
    const startProcesses = () => {
      for (let n = 0; n < BIRTHS; n++) fleet.push(birth(stage, `birth ${++born}`, runs))
    }
    const happened = await carryOut(plan, { world, relay, startProcesses, log: options.log })
    await pause(options.calmMs ?? CALM_MS)

    ending.abort()
    const faults = await finish(world, stage, fleet, runs, options.log)
    const baseline = baselineOf(stage.echoes, calm)
    if (new URL(world.url).port !== String(gatewayPort)) faults.push('the gateway came back on another port')
    return {
      faults,
      baseline,
      levels: levels(stage.echoes, LEVEL_MS),
      cpu: watch.all(),
      disturbances: happened.map((one, index) => {
        const { overAtMs } = one
        const untilMs = happened[index + 1]?.beganAtMs
        const recovery = recoveryOf(stage.echoes, { overAtMs, untilMs, limitMs: baseline.limitMs })
        return { ...one, recovery, starved: watch.worst(overAtMs, overAtMs + recovery.afterMs) }
      }),
      tallies: await tally(fleet),
      dials: relay.count,
    }
  } catch (error) {
    options.log(`the storm broke off: ${messageOf(error)}`) // what closing finds would hide it
    throw error
  } finally {
    ending.abort()
    cpu?.stop()
    await world.close().finally(() => relay.close())
  }
}

const agentPid = (task: Task): number => (task.state === 'running' ? Number(task.placement.handle) : 0)

/** One task that prints a line now and then. */
async function prepare(world: World, { seed }: StormOptions, ending: AbortSignal): Promise<Stage> {
  const { id: taskId } = await world.createTask({ agent: 'command', command: TICKING, workspace: { kind: 'none' } })
  await world.state(taskId, 'running')
  const stage: Stage = { world, client: world.api(), taskId, random: randomFrom(seed + 1), echoes: [], ending }
  await eventually('the command runs', async () =>
    (await world.events(taskId)).some((event) => event.type === 'output' && event.text.includes('tick')),
  )
  return stage
}

/** Input has ended: attachments end, then the task. @returns all faults */
async function finish(
  world: World,
  stage: Stage,
  fleet: readonly Attachment[],
  runs: Runs,
  log: (line: string) => void,
): Promise<string[]> {
  const faults: string[] = []
  const collect = async (some: readonly Attachment[]) => {
    for (const { name, result } of await outcomes(some, END_MS))
      if (result?.status === 'rejected') faults.push(`${name}: ${messageOf(result.reason)}`)
  }
  await collect(fleet.filter(({ followsTask }) => followsTask !== true))
  log('all input has ended')
  faults.push(...(await checkRuns(stage, runs)))
  for (const name of await findLeftovers(stage)) faults.push(`a broken upload left ${name}`)
  await putFile(stage, 'finish', Buffer.from('finish'))
  const task = await world.ended(stage.taskId, END_MS)
  if (task.outcome !== 'succeeded' || task.incomplete)
    faults.push(`the task ended as ${task.outcome}${task.incomplete ? ', incomplete' : ''}: ${task.message}`)
  await collect(fleet.filter(({ followsTask }) => followsTask === true))
  faults.push(...(await checkStored(world, stage.taskId, task.lastSeq)))
  return faults
}

/** Every process that says so has run exactly once, however often its start was repeated. */
async function checkRuns({ client, taskId }: Stage, { started, file }: Runs): Promise<string[]> {
  const text = await (await client.raw(routes.getFile, { params: { taskId, rest: file } })).text()
  const ran = new Map<string, number>()
  for (const id of text.split('\n').slice(0, -1)) ran.set(id, (ran.get(id) ?? 0) + 1)
  return [...new Set([...started, ...ran.keys()])].flatMap((id) =>
    ran.get(id) === 1 && started.includes(id) ? [] : [`process ${id} ran ${ran.get(id) ?? 0} times`],
  )
}

/** The stored log, read once more from its beginning. */
async function checkStored(world: World, taskId: string, lastSeq: number): Promise<string[]> {
  const check = checkEvents('stored events', 0)
  try {
    for (const event of await world.events(taskId)) check(event)
  } catch (error) {
    return [messageOf(error)]
  }
  return check.count() === lastSeq ? [] : [`stored events: ${check.count()} of ${lastSeq}`]
}

async function tally(fleet: readonly Attachment[]): Promise<StormReport['tallies']> {
  const tallies: StormReport['tallies'] = {}
  for (const { name, done } of fleet) {
    const kind = kindOf(name)
    tallies[kind] ??= { count: 0, checked: 0, retries: 0 }
    const one = tallies[kind]
    const { checked, retries } = await Promise.race([done.catch(() => undefined), pause(0)]).then(
      (result) => result ?? { checked: 0, retries: 0 },
    )
    one.count++
    one.checked += checked
    one.retries += retries
  }
  return tallies
}
