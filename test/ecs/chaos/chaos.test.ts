import { expect, test } from 'vitest'
import { chaosRuns } from './run.ts'

const RUNS = 40

test(`${RUNS} seeded runs of faults and kills leave no task of ECS running, buy none twice and know what was paid for`, {
  timeout: 120_000,
}, async () => {
  const seen: Array<{ seed: number; faults: string[] }> = []
  await chaosRuns(1, RUNS, ({ seed, faults }) => void seen.push({ seed, faults }))
  expect(seen).toHaveLength(RUNS)
  expect(seen.filter(({ faults }) => faults.length > 0)).toEqual([])
})
