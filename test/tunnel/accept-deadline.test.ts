import { expect, it } from 'vitest'
import { Flag, FrameType } from '../../tunnel/frame.ts'
import { eventually } from '../helpers/eventually.ts'
import { VirtualClock } from './chaos/virtual-clock.ts'
import { closeOf, rawPeer } from './joined.ts'

it('a stream that the peer never accepts ends with its deadline, and a reset; others are not touched', async () => {
  const clock = new VirtualClock()
  const { tunnel, frames, send } = rawPeer({ clock, acceptTimeoutMs: 60_000 })
  const [ignored, accepted, late] = [tunnel.open(), tunnel.open(), tunnel.open()]
  const ends = [ignored, accepted, late].map(closeOf)
  send({ type: FrameType.windowUpdate, flags: Flag.ack, streamId: accepted.id, length: 0 })
  await eventually('both ends have spoken', () => frames.length === 3)
  await clock.run(() => false, 59_000)
  send({ type: FrameType.windowUpdate, flags: Flag.ack, streamId: late.id, length: 0 })
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(ignored.destroyed).toBe(false)
  await clock.run(() => ignored.destroyed, 61_000)
  const error = await ends[0]
  expect(error).toMatchObject({ code: 'TUNNEL_STREAM_TIMEOUT' })
  expect(error?.message).toMatch(/did not accept stream 2 within 60 s/)
  expect([accepted.destroyed, late.destroyed]).toEqual([false, false])
  await eventually('a reset', () => frames.some(({ flags, streamId }) => flags === Flag.rst && streamId === ignored.id))
  expect(clock.pending).toBe(0)
})
