import { expect, test } from 'vitest'
import { chaosRun } from './run.ts'

const RUNS = 40

test(`${RUNS} seeded runs of faults and kills leave no task of ECS running, and buy none twice`, {
  timeout: 120_000,
}, async () => {
  const failed = []
  for (let seed = 1; seed <= RUNS; seed++) {
    const { faults } = await chaosRun(seed)
    if (faults.length > 0) failed.push({ seed, faults })
  }
  expect(failed).toEqual([])
})
