/**
 * One seeded run of the ECS launcher: some launches, with everything that can go wrong drawn by lot, on a launcher that is killed
 * and built anew as a gateway would be: it is never asked again, what it kept is all that the next one has. Then what a
 * reconciler does: stop what is owned, sweep what is not. At the end nothing may live and nothing may have been bought twice.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { createEcsLauncher } from '../../../gateway/launchers/ecs/ecs.ts'
import type { Launcher, LaunchSpec } from '../../../gateway/launchers/launcher.ts'
import { newGatewayId, newLaunchId, newTaskId } from '../../../protocol/ids.ts'
import type { Placement } from '../../../protocol/task.ts'
import { startEcs } from '../../helpers/ecs/server.ts'
import { IMAGE, sectionAt } from '../../helpers/ecs/site.ts'
import { between, randomFrom } from '../../helpers/random.ts'
import { LATEST_MS, type Random, spreadFaults } from './faults.ts'
import { judge } from './judge.ts'
import type { RunResult } from './run.ts'

/** Of the launcher, which in life waits for minutes. */
const GRACE_MS = 150
const MAX_ATTEMPTS = 8
const GIB = 1024 ** 3

/** One launch of a gateway, with what it has of it on its disk. */
interface Launch {
  spec: LaunchSpec
  kept: unknown
  placement: Placement | undefined
  paidMs: number | undefined
  /** The gateway has said that it will not come about; what comes all the same is nobody's. */
  isGivenUp: boolean
}

export async function launcherRun(seed: number): Promise<RunResult> {
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
  const rows: Launch[] = []
  let kills = 0
  try {
    const count = between(random, 1, 4)
    for (let index = 0; index < count; index++) {
      spreadFaults(ecs, random)
      kills += await launchOne(random, build, rows)
    }
    await reconcile(build(), rows)
    const told = rows.map(({ spec, placement, paidMs, isGivenUp }) => ({
      launchId: spec.launchId,
      handle: placement?.handle,
      paidMs,
      isGivenUp,
    }))
    return { seed, launches: rows.length, kills, ...judge(ecs, told) }
  } finally {
    await ecs.close()
  }
}

/** @returns how often the gateway was killed over it */
async function launchOne(random: Random, build: () => Launcher, rows: Launch[]): Promise<number> {
  const machine = { image: IMAGE, cpu: 0.25, memoryBytes: GIB / 2, spot: random() < 0.5 }
  const row: Launch = {
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
    paidMs: undefined,
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
async function reconcile(launcher: Launcher, rows: readonly Launch[]): Promise<void> {
  for (const row of rows) {
    if (row.placement === undefined) continue
    await stopped(launcher, row.placement)
    row.paidMs = await paidMs(launcher, row.placement)
  }
  for (let quiet = 0; quiet < 2; ) {
    const orphans = await launcher.list()
    for (const orphan of orphans) await stopped(launcher, orphan)
    quiet = orphans.length === 0 ? quiet + 1 : 0
    await pause(LATEST_MS)
  }
}

async function paidMs(launcher: Launcher, placement: Placement): Promise<number | undefined> {
  const status = (await launcher.inspect([placement])).get(placement.launchId)
  return status !== undefined && 'paidSeconds' in status && status.paidSeconds !== undefined
    ? status.paidSeconds * 1_000
    : undefined
}

async function stopped(launcher: Launcher, placement: Placement): Promise<void> {
  for (;;)
    try {
      return await launcher.stop(placement, 'the run is over')
    } catch {
      await pause(5)
    }
}
