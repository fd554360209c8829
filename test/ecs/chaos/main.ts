import { readSeeds } from '../../helpers/seeds.ts'
import { chaosRun } from './run.ts'

const HELP = `npm run chaos:ecs -- --seed S                 one run
npm run chaos:ecs -- [--runs N] [--from F]     seeds F to F + N - 1 (1 to 1000 unless told); exit code 1 if one failed
`

/** Returns the exit code. */
export async function main(args: string[]): Promise<number> {
  const seeds = readSeeds(args, HELP)
  if (seeds === undefined) return 0
  const { from, runs } = seeds.seed === undefined ? seeds : { from: seeds.seed, runs: 1 }
  const startedAt = performance.now()
  const sum = { launches: 0, kills: 0, billedMs: 0 }
  let failed = 0
  for (let seed = from; seed < from + runs; seed++) {
    const result = await chaosRun(seed)
    for (const key of ['launches', 'kills', 'billedMs'] as const) sum[key] += result[key]
    if (result.faults.length === 0) continue
    failed += 1
    console.log(
      `seed ${seed} failed:\n  ${result.faults.join('\n  ')}\n  again with: npm run chaos:ecs -- --seed ${seed}`,
    )
  }
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(0)
  console.log(
    `${runs} runs in ${seconds} s: ${failed} failed; ${sum.launches} launches, ${sum.kills} kills, ${(sum.billedMs / 1000).toFixed(0)} s billed`,
  )
  return failed === 0 ? 0 : 1
}
