/**
 * One seeded run of the ECS launcher: some launches, with everything that can go wrong drawn by lot, on a launcher that is killed
 * and built anew as a gateway would be: it is never asked again, what it kept is all that the next one has. Then what a
 * reconciler does: stop what is owned, sweep what is not. At the end nothing may live and nothing may have been bought twice.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { createEcsLauncher } from '../../../gateway/launchers/ecs/ecs.ts'
import type { Launcher, LaunchSpec } from '../../../gateway/launchers/launcher.ts'
import { LaunchId, newGatewayId, newLaunchId, newTaskId, TaskId } from '../../../protocol/ids.ts'
import type { Placement } from '../../../protocol/task.ts'
import type { Fault } from '../../helpers/ecs/faults.ts'
import { type Ecs, startEcs } from '../../helpers/ecs/server.ts'
import { IMAGE, sectionAt } from '../../helpers/ecs/site.ts'
import { between, randomFrom } from '../../helpers/random.ts'

export interface ChaosResult {
  seed: number
  /** What went wrong that must not. */
  faults: string[]
  launches: number
  kills: number
  billedMs: number
}

const NO_CAPACITY = { reason: 'Capacity is unavailable at this time. Please try again later.' }
/** Of the launcher, which in life waits for minutes. */
const GRACE_MS = 150
const MAX_ATTEMPTS = 8
const GIB = 1024 ** 3

type Random = () => number

function drawFault(random: Random): Fault | undefined {
  const ms = between(random, 0, 60)
  switch (between(random, 0, 14)) {
    case 0:
      return { kind: 'throttled' }
    case 1:
      return { kind: 'throttled-wrapped' }
    case 2:
      return { kind: 'server-error' }
    case 3:
      return { kind: 'reset-before' }
    case 4:
      return { kind: 'reset-after' }
    case 5:
      return { kind: 'slow', ms }
    case 6:
      return { kind: 'failure', failure: NO_CAPACITY }
    case 7:
      return { kind: 'ghost', failure: NO_CAPACITY, afterMs: ms }
    case 8:
      return { kind: 'no-capacity', ms }
    case 9:
      return { kind: 'missing', ms }
    default:
      return undefined
  }
}

/** What a gateway has on its disk of one launch. */
interface Row {
  spec: LaunchSpec
  kept: unknown
  placement: Placement | undefined
  /** The gateway has said that it will not come about; what comes all the same is nobody's. */
  isGivenUp: boolean
}

export async function chaosRun(seed: number): Promise<ChaosResult> {
  const random = randomFrom(seed)
  const ecs = await startEcs({
    images: { [IMAGE]: ({ env }) => ({ argv: ['/bin/sleep', '600'], env: { PATH: '/usr/bin:/bin', ...env } }) },
    secondMs: 2,
  })
  const gatewayId = newGatewayId()
  const build = (): Launcher =>
    createEcsLauncher({
      section: sectionAt(ecs.url, { capacity: between(random, 0, 1) === 0 ? 'fargate' : 'fargate-spot' }),
      gatewayId,
      credentials: ecs.credentials,
      graceMs: GRACE_MS,
      pollMs: 5,
      firstPauseMs: 2,
    })
  const rows: Row[] = []
  let kills = 0
  try {
    const count = between(random, 1, 4)
    for (let index = 0; index < count; index++) {
      for (const operation of ['RunTask', 'RunTask', 'DescribeTasks', 'ListTasks', 'StopTask']) {
        const fault = drawFault(random)
        const isOfRun = fault !== undefined && /failure|ghost|no-capacity|missing/.test(fault.kind)
        if (fault !== undefined && (!isOfRun || operation === 'RunTask')) ecs.faults.next(operation, fault)
      }
      kills += await launchOne(random, build, rows)
    }
    await reconcile(build(), rows)
    return { seed, faults: judge(ecs, rows), launches: rows.length, kills, billedMs: billed(ecs) }
  } finally {
    await ecs.close()
  }
}

/** @returns how often the gateway was killed over it */
async function launchOne(random: Random, build: () => Launcher, rows: Row[]): Promise<number> {
  const machine = { image: IMAGE, cpu: 0.25, memoryBytes: GIB / 2, spot: random() < 0.5 }
  const row: Row = {
    spec: {
      launchId: newLaunchId(),
      taskId: newTaskId(),
      gatewayUrl: 'http://127.0.0.1:9',
      joinCode: 'x',
      agent: 'command',
      machine,
    },
    kept: undefined,
    placement: undefined,
    isGivenUp: false,
  }
  rows.push(row)
  for (let kills = 0; kills < MAX_ATTEMPTS; kills++) {
    const launcher = build()
    let isDead = false
    const dying = new AbortController()
    const work = launcher.launch(row.spec, {
      signal: dying.signal,
      progress: () => {},
      warn: () => {},
      keep(note) {
        if (isDead) throw new Error('nobody writes after its death')
        row.kept = JSON.parse(JSON.stringify(note))
      },
      kept: row.kept,
    })
    const killAfter = random() < 0.5 ? between(random, 0, 40) : undefined
    const killed =
      killAfter === undefined ? new Promise<never>(() => {}) : pause(killAfter).then(() => 'killed' as const)
    const outcome = await Promise.race([work.catch((error: Error) => error), killed])
    if (outcome === 'killed') {
      isDead = true
      dying.abort()
      await work.catch(() => {})
      continue
    }
    if (outcome instanceof Error) row.isGivenUp = true
    else row.placement = outcome
    return kills
  }
  row.isGivenUp = true
  return MAX_ATTEMPTS
}

/** As `gateway/tasks/` does it: everything is stopped in the end, what nobody owns included, however late it comes. */
async function reconcile(launcher: Launcher, rows: readonly Row[]): Promise<void> {
  for (const { placement } of rows) if (placement !== undefined) await stopped(launcher, placement)
  for (let quiet = 0; quiet < 3; ) {
    const orphans = await launcher.list()
    for (const orphan of orphans) await stopped(launcher, orphan)
    quiet = orphans.length === 0 ? quiet + 1 : 0
    await pause(40) // ghosts and what is not shown yet come within 60 ms
  }
}

async function stopped(launcher: Launcher, placement: Placement): Promise<void> {
  for (;;)
    try {
      return await launcher.stop(placement, 'the run is over')
    } catch {
      await pause(5)
    }
}

function judge(ecs: Ecs, rows: readonly Row[]): string[] {
  const faults = [...ecs.problems]
  const byLaunch = new Map<string, number>()
  for (const task of ecs.tasks()) {
    if (task.status !== 'STOPPED') faults.push(`leaked: ${task.arn} is ${task.status}`)
    const { value: launchId = '' } =
      task.options.request.overrides?.containerOverrides?.[0]?.environment?.find(
        ({ value = '' }) => LaunchId.safeParse(value).success,
      ) ?? {}
    byLaunch.set(launchId, (byLaunch.get(launchId) ?? 0) + 1)
  }
  for (const { spec, placement } of rows) {
    const bought = byLaunch.get(spec.launchId) ?? 0
    const ghosts = ghostsOf(ecs, spec.launchId)
    if (bought > 1 + ghosts) faults.push(`doubled: ${bought} tasks for ${spec.launchId}, ${ghosts} of them ghosts`)
    if (placement !== undefined && bought === 0) faults.push(`${spec.launchId} has a placement that was never bought`)
    TaskId.parse(spec.taskId)
  }
  return faults
}

/** Tasks that ECS started after it had said that it would not: those nobody can help, but they must be stopped. */
const ghostsOf = (ecs: Ecs, launchId: string): number =>
  ecs.tasks().filter(({ options }) => options.isGhost && JSON.stringify(options.request).includes(launchId)).length

const billed = (ecs: Ecs): number => ecs.tasks().reduce((sum, { billedMs }) => sum + billedMs, 0)
