/**
 * The short form of `npm run soak:attachments`: a storm over a few live attachments. Only what must be right on any machine is
 * asserted; how quickly echoes were back is printed.
 */
import { expect, test } from 'vitest'
import { formatReport } from '../soak/attachments/report.ts'
import { runStorm } from '../soak/attachments/storm.ts'

const TIMEOUT_MS = 240_000

test(
  'live attachments lose and repeat nothing while the tunnel is cut and the gateway is killed',
  async () => {
    const seed = Number(process.env.RCLAUDE_TEST_SEED ?? Date.now() % 1_000_000)
    console.log(`seed ${seed} (RCLAUDE_TEST_SEED=${seed} repeats it)`)
    const log: string[] = []
    const storm = { seed, attachments: 24, cuts: 10, kills: 1, seconds: 10, warmUpMs: 2_000, calmMs: 3_000 }
    const report = await runStorm({ ...storm, log: (line) => log.push(line) }).finally(() =>
      console.log(log.join('\n')),
    )
    console.log(formatReport(report))
    expect(report.faults).toEqual([])
    expect(report.disturbances).toHaveLength(12) // with the stall
    for (const [kind, { checked }] of Object.entries(report.tallies)) expect(checked, kind).toBeGreaterThan(0)
    const exec = ['lines', 'binary', 'digest', 'flood'].map((kind) => report.tallies[kind]?.retries ?? 0)
    expect(Math.min(...exec), 'connections that were lost').toBeGreaterThan(0)
  },
  TIMEOUT_MS,
)
