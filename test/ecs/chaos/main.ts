import { readSeeds } from '../../helpers/seeds.ts'
import { chaosRuns, isOfGateway } from './run.ts'

const HELP = `npm run chaos:ecs -- --seed S                 one run
npm run chaos:ecs -- [--runs N] [--from F]     seeds F to F + N - 1 (1 to 1000 unless told); exit code 1 if one failed
Each tenth seed is a run of a whole gateway, which is killed with SIGKILL; the others are of its launcher alone.
`

/** Returns the exit code. */
export async function main(args: string[]): Promise<number> {
  const seeds = readSeeds(args, HELP)
  if (seeds === undefined) return 0
  const { from, runs } = seeds.seed === undefined ? seeds : { from: seeds.seed, runs: 1 }
  const startedAt = performance.now()
  const sum = { launches: 0, kills: 0, billedMs: 0, unownedMs: 0 }
  let failed = 0
  let ofGateways = 0
  await chaosRuns(from, runs, ({ seed, faults, ...result }) => {
    if (isOfGateway(seed)) ofGateways += 1
    for (const key of ['launches', 'kills', 'billedMs', 'unownedMs'] as const) sum[key] += result[key]
    if (faults.length === 0) return
    failed += 1
    console.log(`seed ${seed} failed:\n  ${faults.join('\n  ')}\n  again with: npm run chaos:ecs -- --seed ${seed}`)
  })
  const seconds = (ms: number) => (ms / 1000).toFixed(1)
  console.log(
    `${runs} runs (${ofGateways} of whole gateways) in ${seconds(performance.now() - startedAt)} s: ${failed} failed; ` +
      `${sum.launches} launches, ${sum.kills} kills, ${seconds(sum.billedMs)} s billed, of it ${seconds(sum.unownedMs)} s for ghosts`,
  )
  return failed === 0 ? 0 : 1
}
