/** `rclaude forward`: TCP connections to a task's ports, as if its servers ran here, at good and bad moments. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { routes } from '../../protocol/routes.ts'
import { eventually } from '../helpers/eventually.ts'
import {
  dial,
  endingOf,
  forward,
  idleTask,
  noise,
  serve,
  sha256Of,
  startForwardingWorld,
  textOf,
} from '../helpers/forwarding.ts'
import { freePort } from '../helpers/free-port.ts'
import { startWorld } from '../helpers/world.ts'
import { startRelay } from '../tunnel/resuming.ts'

test('bytes go both ways, and each half of a connection ends by itself', async () => {
  const { world, taskId } = await startForwardingWorld()
  // Answers only when it has everything: with the other half it would never begin.
  const hashing = await serve(async (socket) => socket.end(await sha256Of(socket)))
  // Ends its half first, and then reads on.
  let heard: Promise<string> | undefined
  const greeting = await serve((socket) => {
    socket.end('hello')
    heard = textOf(socket)
  })
  const onlyIPv6 = await serve((socket) => socket.end('six'), '::1')
  const { ports, stop } = await forward(world, [taskId, `0:${hashing}`, `:${greeting}`, `0:${onlyIPv6}`])

  const content = noise(3 * 1024 * 1024)
  const hashed = await dial(ports[0] ?? 0)
  hashed.end(content)
  expect(await textOf(hashed)).toBe(createHash('sha256').update(content).digest('hex'))
  const greeted = await dial(ports[1] ?? 0)
  expect(await textOf(greeted)).toBe('hello')
  greeted.end('and after that')
  await eventually('it connected', () => heard !== undefined)
  expect(await heard).toBe('and after that')
  expect(await textOf(await dial(ports[2] ?? 0))).toBe('six')
  expect((await stop()).code).toBe(0)
})

test('a reset goes on to the other end, in both directions', async () => {
  const { world, taskId } = await startForwardingWorld()
  const resetting = await serve((socket) => socket.once('data', () => socket.resetAndDestroy()))
  let ending: Promise<string> | undefined
  const waiting = await serve((socket) => {
    ending = endingOf(socket)
  })
  const { ports } = await forward(world, [taskId, `0:${resetting}`, `0:${waiting}`])
  const first = await dial(ports[0] ?? 0)
  first.write('x')
  expect(await endingOf(first)).toBe('reset')
  const second = await dial(ports[1] ?? 0)
  await eventually('it is connected', () => ending !== undefined)
  second.resetAndDestroy()
  expect(await ending).toBe('reset')
})

test('200 connections at once each get their own bytes back', async () => {
  const { world, taskId } = await startForwardingWorld()
  const echo = await serve((socket) => socket.pipe(socket))
  const { ports } = await forward(world, [taskId, `0:${echo}`])
  const answers = await Promise.all(
    Array.from({ length: 200 }, async (_, at) => {
      const socket = await dial(ports[0] ?? 0)
      socket.end(`number ${at}`)
      return textOf(socket)
    }),
  )
  expect(answers).toEqual(Array.from({ length: 200 }, (_, at) => `number ${at}`))
})

test('a port on which nothing listens resets the connection and is named; then its server starts', async () => {
  const { world, taskId } = await startForwardingWorld()
  const port = await freePort()
  const { ports, stderr } = await forward(world, [taskId, `0:${port}`])
  expect(await endingOf(await dial(ports[0] ?? 0))).toBe('reset')
  await eventually('it is said', () => stderr().includes(`nothing listens on port ${port} of the task`))
  await serve((socket) => socket.end('now'), '127.0.0.1', port)
  expect(await textOf(await dial(ports[0] ?? 0))).toBe('now')
})

test('who does not read is waited for: no more is taken from the server than windows and sockets hold', async () => {
  const { world, taskId } = await startForwardingWorld()
  let sent = 0
  const flooding = await serve((socket) => {
    const piece = Buffer.alloc(64 * 1024)
    const pump = () => {
      while (!socket.destroyed && socket.write(piece)) sent += piece.length
    }
    socket.on('drain', () => {
      sent += piece.length
      pump()
    })
    pump()
  })
  const { ports } = await forward(world, [taskId, `0:${flooding}`])
  const socket = await dial(ports[0] ?? 0)
  socket.pause()
  let before = -1
  await eventually('it stands still', async () => {
    const isStill = sent === before && sent > 0
    before = sent
    await new Promise((resolve) => setTimeout(resolve, 300))
    return isStill
  })
  expect(sent).toBeLessThan(24 * 1024 * 1024) // of which the systems' own socket buffers are most
  let read = 0
  socket.on('data', (bytes) => {
    read += bytes.length
  })
  socket.resume()
  await eventually('it flows again', () => read > sent / 2 && read > 32 * 1024 * 1024)
})

test("the agent's way is cut again and again, and our own: not a byte is lost or doubled", {
  timeout: 60_000,
}, async () => {
  const ofAgent = await startRelay(0)
  const ofClient = await startRelay(0)
  const settings = { RCLAUDE_AGENT_URL: `http://127.0.0.1:${ofAgent.port}` }
  const { world, taskId } = await startForwardingWorld(settings, ({ url }) => {
    ofAgent.target = ofClient.target = Number(new URL(url).port)
  })
  const content = noise(12 * 1024 * 1024)
  const expected = createHash('sha256').update(content).digest('hex')
  const sums: string[] = []
  const both = await serve(async (socket) => {
    const arriving = sha256Of(socket)
    socket.end(content)
    sums.push(await arriving)
  })
  const env = { ...world.asAdmin, RCLAUDE_GATEWAY: `http://127.0.0.1:${ofClient.port}` }
  const { ports } = await forward(world, [taskId, `0:${both}`], env)
  const transfer = async () => {
    const socket = await dial(ports[0] ?? 0)
    socket.end(content)
    return sha256Of(socket)
  }
  const down = Promise.all([transfer(), transfer()])
  let isDone = false
  void down.finally(() => {
    isDone = true
  })
  let cuts = 0
  for (; !isDone || cuts < 10; cuts++) {
    const relay = cuts % 2 === 0 ? ofClient : ofAgent
    const seen = relay.connections
    relay.cut()
    await eventually('it is dialled again', () => relay.connections > seen || isDone)
    await new Promise((resolve) => setTimeout(resolve, 100))
    if (isDone) break
  }
  expect(cuts).toBeGreaterThan(5)
  expect(await down).toEqual([expected, expected])
  await eventually('the servers have all', () => sums.length === 2)
  expect(sums).toEqual([expected, expected])
})

test('the gateway is killed in the middle of a transfer: it goes on where it was', { timeout: 60_000 }, async () => {
  const { world, taskId } = await startForwardingWorld()
  const content = noise(24 * 1024 * 1024)
  const expected = createHash('sha256').update(content).digest('hex')
  let received = 0
  const both = await serve(async (socket) => {
    socket.on('data', (bytes) => {
      received += bytes.length
    })
    socket.end(`${await sha256Of(socket)}\n`)
  })
  const { ports, stderr } = await forward(world, [taskId, `0:${both}`])
  const socket = await dial(ports[0] ?? 0)
  let at = 0
  const sending = (async () => {
    for (; at < content.length; at += 256 * 1024) {
      if (!socket.write(content.subarray(at, at + 256 * 1024))) await once(socket, 'drain')
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    socket.end()
  })()
  await eventually('a part has arrived', () => received > 2 * 1024 * 1024)
  await world.killGateway('SIGKILL')
  await world.startGateway()
  await sending
  expect((await textOf(socket)).trim()).toBe(expected)
  expect(stderr()).toMatch(/the way to the task is lost .*\n(.*\n)*.*is back/)
  const after = await dial(ports[0] ?? 0)
  after.end('new')
  expect((await textOf(after)).trim()).toBe(createHash('sha256').update('new').digest('hex'))
})

test('Ctrl-C ends it at once in the midst of a flood, and both ends are told', async () => {
  const { world, taskId } = await startForwardingWorld()
  let ending: Promise<string> | undefined
  const flooding = await serve((socket) => {
    const pump = () => {
      while (!socket.destroyed && socket.write(Buffer.alloc(64 * 1024))) {}
    }
    socket.on('drain', pump)
    ending = endingOf(socket)
    pump()
  })
  const { ports, stop } = await forward(world, [taskId, `0:${flooding}`])
  const socket = await dial(ports[0] ?? 0)
  let read = 0
  socket.on('data', (bytes) => {
    read += bytes.length
  })
  await eventually('it flows', () => read > 32 * 1024 * 1024) // long enough for the garbage collector to have run
  const ours = endingOf(socket)
  const startedAt = performance.now()
  expect((await stop()).code).toBe(0)
  expect(performance.now() - startedAt).toBeLessThan(5_000)
  expect([await ours, await ending]).toEqual(['reset', 'reset'])
})

test('revoking the token closes what it opened within 5 s, and lets nothing new in', async () => {
  const world = await startWorld()
  const made = await world.api().call(routes.createToken, { body: { name: 'a', user: 'alice', role: 'member' } })
  const taskId = await idleTask(world, { token: made.secret })
  const echo = await serve((socket) => socket.pipe(socket))
  const running = await forward(world, [taskId, `0:${echo}`], { ...world.asAdmin, RCLAUDE_TOKEN: made.secret })
  const socket = await dial(running.ports[0] ?? 0)
  socket.write('x')
  await once(socket, 'data')
  const ending = endingOf(socket)
  const revokedAt = performance.now()
  await world.api().call(routes.revokeToken, { params: { tokenId: made.token.id } })
  expect(await ending).toBe('reset')
  expect(performance.now() - revokedAt).toBeLessThan(5_000)
  await world.api().call(routes.stopTask, { params: { taskId }, body: {} })
  await world.ended(taskId)
})

test('a connection beyond limits.forwards waits, says the key, and goes on when there is room', async () => {
  const { world, taskId } = await startForwardingWorld({ RCLAUDE_LIMITS__FORWARDS: '2' })
  const echo = await serve((socket) => socket.pipe(socket))
  const { ports, stderr } = await forward(world, [taskId, `0:${echo}`])
  const [first, second, third] = await Promise.all([1, 2, 3].map(() => dial(ports[0] ?? 0)))
  for (const socket of [first, second, third]) socket?.write('x')
  await eventually('the limit is said', () => stderr().includes('limits.forwards'))
  for (const socket of [first, second, third]) socket?.end()
  for (const socket of [first, second, third]) expect(socket && (await textOf(socket))).toBe('x')
})

test("hosts other than the task's own loopback are refused unless the task was made with them", async () => {
  const { world, taskId } = await startForwardingWorld()
  const echo = await serve((socket) => socket.pipe(socket), '127.0.0.1')
  // A name that is this machine all the same: what counts is what the task allows.
  const name = 'localhost.localdomain'
  const closed = await forward(world, [taskId, `0:${name}:${echo}`, `0:LOCALHOST:${echo}`])
  expect(await endingOf(await dial(closed.ports[0] ?? 0))).toBe('reset')
  await eventually('it is said', () => closed.stderr().includes(`forwarding to ${name} is not allowed`))
  const own = await dial(closed.ports[1] ?? 0)
  own.end('own')
  expect(await textOf(own)).toBe('own')
  const allowing = await idleTask(world, { forwardHosts: ['127.0.0.1.nip.invalid', '0.0.0.0'] })
  const open = await forward(world, [allowing, `0:0.0.0.0:${echo}`])
  const socket = await dial(open.ports[0] ?? 0)
  socket.end('there')
  expect(await textOf(socket)).toBe('there')
})

test('wrong ports, taken ports and ended tasks are told in words, with the exit codes of the table', async () => {
  const { world, taskId } = await startForwardingWorld()
  const cli = (...args: string[]) => world.cli(['forward', ...args], { env: world.asAdmin })
  const taken = await serve(() => {})
  const same = await cli(taskId, String(taken))
  expect(same).toMatchObject({ code: 9, stdout: '' })
  expect(same.stderr).toContain(`port ${taken} on 127.0.0.1 is taken here: name another, such as ${taken + 1}:${taken}`)
  for (const [port, words] of [
    ['70000', '70000 is no port'],
    ['http', '"http" is no forward'],
    ['1:2:3:4', 'is no forward'],
    ['0', '0 is no port'],
  ] as const) {
    const { code, stderr } = await cli(taskId, port)
    expect([port, code, stderr]).toEqual([port, 2, expect.stringContaining(words)])
  }
  expect(await cli(taskId)).toMatchObject({ code: 2, stderr: expect.stringContaining('which port?') })
  const running = await forward(world, [taskId, `0:${taken}`])
  await world.api().call(routes.stopTask, { params: { taskId }, body: {} })
  expect(await running.result).toMatchObject({ code: 1, stderr: expect.stringContaining('has ended (cancelled)') })
  expect(await cli(taskId, '0:3000')).toMatchObject({
    code: 125,
    stderr: expect.stringContaining('has ended (cancelled)'),
  })
})
