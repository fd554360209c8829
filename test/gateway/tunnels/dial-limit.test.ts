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

test('what is past is forgotten, whoever dialled in between', () => {
  let now = 0
  const limit = new DialLimit(2, () => now)
  const [one, other] = [newLaunchId(), newLaunchId()]
  limit.count(one)
  now = 30_000
  limit.count(other)
  limit.count(one)
  now = 60_001 // the first dial of `one` is past, its second is not
  limit.count(one)
  expect(() => limit.count(one)).toThrow(expect.objectContaining({ code: 'limit', retryAfterSeconds: 30 }))
  limit.count(other)
  now = 200_000
  for (const launch of [one, other, one, other]) expect(() => limit.count(launch)).not.toThrow()
})
