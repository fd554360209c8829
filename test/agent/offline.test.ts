import { expect, onTestFinished, test } from 'vitest'
import { createOfflineSwitch } from '../../agent/offline.ts'
import { eventually } from '../helpers/eventually.ts'

function started(limitSeconds: number, options?: { maxTimerMs: number }) {
  const startedAt = performance.now()
  const seen: { goneAfterMs?: number } = {}
  const offline = createOfflineSwitch(
    limitSeconds,
    () => {
      seen.goneAfterMs ??= performance.now() - startedAt
    },
    options,
  )
  onTestFinished(() => offline.stop())
  return { offline, seen }
}

test('a limit longer than a timer can be does not fire at once', async () => {
  const { offline, seen } = started(3_000_000)
  offline.offline()
  offline.setLimit(4_000_000)
  await new Promise((resolve) => setTimeout(resolve, 50)) // an overflowing timer fires after 1 ms
  expect(seen.goneAfterMs).toBeUndefined()
})

test('a limit of several timers fires when all have passed', async () => {
  const { seen } = started(0.2, { maxTimerMs: 15 })
  const goneAfterMs = await eventually('it fires', () => seen.goneAfterMs)
  expect(goneAfterMs).toBeGreaterThan(190)
})

test('being online stops the clock', async () => {
  const { offline, seen } = started(0.05)
  offline.online()
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(seen.goneAfterMs).toBeUndefined()
  offline.offline()
  await eventually('it fires', () => seen.goneAfterMs !== undefined)
})
