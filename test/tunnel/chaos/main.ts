import { readSeeds } from '../../helpers/seeds.ts'
import { runSchedule } from './run-schedule.ts'
import { scheduleOf } from './schedule.ts'

const HELP = `npm run chaos:tunnel -- --seed S              one schedule, printed, twice: what it does must not depend on chance
npm run chaos:tunnel -- [--runs N] [--from F]  seeds F to F + N - 1 (1 to 1000 unless told); exit code 1 if one failed
`

/** Returns the exit code. */
export async function main(args: string[]): Promise<number> {
  const seeds = readSeeds(args, HELP)
  if (seeds === undefined) return 0
  return seeds.seed === undefined ? runMany(seeds.from, seeds.runs) : replay(seeds.seed)
}

async function replay(seed: number): Promise<number> {
  const schedule = scheduleOf(seed)
  console.log(JSON.stringify(schedule, undefined, 2))
  const [first, second] = [await runSchedule(schedule), await runSchedule(schedule)]
  console.log(JSON.stringify(first, undefined, 2))
  const isSame = JSON.stringify(first) === JSON.stringify(second)
  if (!isSame) console.log(`the second run was another:\n${JSON.stringify(second, undefined, 2)}`)
  return first.faults.length === 0 && isSame ? 0 : 1
}

async function runMany(from: number, count: number): Promise<number> {
  const startedAt = performance.now()
  const sum = { connections: 0, resumes: 0, bytes: 0, virtualMs: 0 }
  let failed = 0
  for (let seed = from; seed < from + count; seed += 1) {
    const result = await runSchedule(scheduleOf(seed))
    for (const key of ['connections', 'resumes', 'bytes', 'virtualMs'] as const) sum[key] += result[key]
    if (result.faults.length === 0) continue
    failed += 1
    console.log(
      `seed ${seed} failed:\n  ${result.faults.join('\n  ')}\n  again with: npm run chaos:tunnel -- --seed ${seed}`,
    )
  }
  const seconds = (performance.now() - startedAt) / 1000
  console.log(
    `${count} schedules in ${seconds.toFixed(1)} s: ${failed} failed; ${sum.connections} connections, ${sum.resumes} resumes, ` +
      `${(sum.bytes / 1e6).toFixed(0)} MB, ${(sum.virtualMs / 3_600_000).toFixed(1)} h of virtual time`,
  )
  return failed === 0 ? 0 : 1
}
