/** The longest life of a turn is enforced where its machine is, and told before. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Stop } from '../../../agent/run/stop.ts'
import { startWatchdog } from '../../../agent/run/watchdog.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function started(timeoutSeconds: number) {
  const stop = new Stop()
  const warnings: string[] = []
  const keys = { timeout: 'limits.taskTimeout' }
  const watchdog = startWatchdog({ limits: { timeoutSeconds }, stop, keys, warn: (text) => void warnings.push(text) })
  return { stop, warnings, watchdog }
}

test('five minutes before the time limit there is a warning, then the turn is stopped', () => {
  const { stop, warnings } = started(3_600)
  vi.advanceTimersByTime(3_299_000)
  expect(warnings).toEqual([])
  vi.advanceTimersByTime(1_000)
  expect(warnings).toEqual(['5m 00s left of the time limit of 1h 00m (limits.taskTimeout)'])
  expect(stop.cause).toBeUndefined()
  vi.advanceTimersByTime(300_000)
  expect(stop.cause).toMatchObject({ outcome: 'timeout', reason: 'max_duration' })
})

test('a short limit is not warned of, and a turn that is done is neither warned nor stopped', () => {
  const short = started(600)
  vi.advanceTimersByTime(599_000)
  expect(short.warnings).toEqual([])
  const done = started(3_600)
  done.watchdog.stop()
  vi.advanceTimersByTime(4_000_000)
  expect([done.warnings, done.stop.cause]).toEqual([[], undefined])
})
