import { expect, test } from 'vitest'
import { DialLimit } from '../../../gateway/tunnels/dial-limit.ts'
import { newLaunchId } from '../../../protocol/ids.ts'

test('an agent that dials without end is told to wait, and others are not', () => {
  let now = 0
  const limit = new DialLimit(20, () => now)
  const busy = newLaunchId()
  for (let n = 0; n < 20; n++) limit.count(busy)
  expect(() => limit.count(busy)).toThrow(
    expect.objectContaining({
      code: 'limit',
      retryAfterSeconds: 60,
      message: expect.stringContaining('limits.dialsPerMinute'),
    }),
  )
  expect(() => limit.count(newLaunchId())).not.toThrow()
  now = 60_000
  expect(() => limit.count(busy)).not.toThrow()
})
