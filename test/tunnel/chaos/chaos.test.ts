// The fast form of `npm run chaos:tunnel`. A seed that failed there belongs into the list here.

import { expect, it } from 'vitest'
import { runSchedule } from './run-schedule.ts'
import { scheduleOf } from './schedule.ts'

const RUNS = 200

it(`${RUNS} seeded schedules of faults lose, repeat and leave behind nothing`, { timeout: 120_000 }, async () => {
  const failed: string[] = []
  let resumes = 0
  for (let seed = 1; seed <= RUNS; seed += 1) {
    const result = await runSchedule(scheduleOf(seed))
    resumes += result.resumes
    if (result.faults.length > 0) failed.push(`seed ${seed}: ${result.faults.join('; ')}`)
  }
  expect(failed).toEqual([])
  expect(resumes).toBeGreaterThan(RUNS)
})

it('a schedule runs the same way each time', async () => {
  for (const seed of [3, 14, 159])
    expect(await runSchedule(scheduleOf(seed))).toEqual(await runSchedule(scheduleOf(seed)))
})
