/** What is said while an image comes, and what ends a pull. The engine's part is a list of lines. */
import { PassThrough } from 'node:stream'
import { afterEach, expect, test, vi } from 'vitest'
import type { Engine } from '../../../../gateway/launchers/docker/engine.ts'
import { ensureImage } from '../../../../gateway/launchers/docker/image.ts'
import { launchOptions } from '../../../helpers/launching.ts'

const MIB = 1024 ** 2

/** An engine without the image; its pull is what is written to the stream. */
function pulling(stream: PassThrough): Engine {
  const docker = {
    getImage: () => ({ inspect: () => Promise.reject(Object.assign(new Error('no such image'), { statusCode: 404 })) }),
    pull: () => Promise.resolve(stream),
  }
  return { host: 'unix:///test', client: () => Promise.resolve(docker as never) }
}

const line = (value: object) => `${JSON.stringify(value)}\n`
const layer = (id: string, current: number) =>
  line({ id, status: 'Downloading', progressDetail: { current: current * MIB, total: 100 * MIB } })

afterEach(() => void vi.useRealTimers())

test('the layers are summed, and said at most once a second', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const stream = new PassThrough()
  const options = launchOptions()
  const done = ensureImage(pulling(stream), 'team/image:1', 'missing', options, { HOME: '/nowhere' })
  const say = async (text: string) => {
    stream.write(text)
    await vi.waitFor(() => expect(stream.readableLength).toBe(0))
  }
  await say(layer('a', 10) + layer('b', 10))
  vi.setSystemTime(Date.now() + 1_100)
  const [first, second] = [layer('a', 30).slice(0, 20), layer('a', 30).slice(20)]
  await say(first) // a line may come in pieces
  await say(second)
  await say(layer('b', 50)) // within the same second
  vi.setSystemTime(Date.now() + 1_100)
  stream.end(layer('b', 60))
  await done
  expect(options.said).toEqual([
    'pulling the image team/image:1',
    'pulling the image: 40.0 MiB of 200.0 MiB',
    'pulling the image: 90.0 MiB of 200.0 MiB',
  ])
})

test('a failure in the middle is the end, though the engine had said 200', async () => {
  const stream = new PassThrough()
  stream.end(layer('a', 10) + line({ error: 'dial tcp: lookup example.org: no such host' }))
  const done = ensureImage(pulling(stream), 'example.org/image', 'missing', launchOptions(), { HOME: '/nowhere' })
  await expect(done).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('does not answer') })
})

test('a launch that is given up ends the pull', async () => {
  const stream = new PassThrough()
  const giveUp = new AbortController()
  const options = launchOptions({ signal: giveUp.signal })
  const done = ensureImage(pulling(stream), 'image', 'missing', options, { HOME: '/nowhere' })
  stream.write(layer('a', 10))
  await vi.waitFor(() => expect(stream.readableFlowing !== null || stream.listenerCount('readable') > 0).toBe(true))
  giveUp.abort(new Error('given up'))
  await expect(done).rejects.toThrow('given up')
  expect(stream.destroyed).toBe(true)
})
