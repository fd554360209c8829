/** The other ways to a task's ports: a SOCKS proxy, ports of this machine in the task, and the list of what listens. */
import { once } from 'node:events'
import { get } from 'node:http'
import type { Socket } from 'node:net'
import { expect, test } from 'vitest'
import { ListeningPorts } from '../../protocol/port.ts'
import { routes } from '../../protocol/routes.ts'
import { eventually } from '../helpers/eventually.ts'
import { dial, endingOf, forward, serve, startForwardingWorld, textOf } from '../helpers/forwarding.ts'
import { freePort } from '../helpers/free-port.ts'
import type { World } from '../helpers/world.ts'

/** Asks a SOCKS proxy for a connection. @returns its answer's code, and the socket behind it */
async function socks(proxy: number, address: Buffer, port: number, command = 1): Promise<[number, Socket]> {
  const socket = await dial(proxy)
  const read = async (count: number): Promise<Buffer> => {
    for (;;) {
      const bytes: Buffer | null = socket.read(count)
      if (bytes !== null) return bytes
      if (socket.readableEnded) throw new Error('it ended')
      await once(socket, 'readable')
    }
  }
  // All at once, in pieces that fit nowhere: what a proxy reads must not depend on how it came.
  socket.write(Buffer.of(5, 2, 1))
  socket.write(Buffer.concat([Buffer.of(0, 5, command, 0), address, Buffer.of(port >> 8, port & 255)]))
  expect([...(await read(2))]).toEqual([5, 0])
  return [(await read(10))[1] ?? -1, socket]
}

const name = (host: string) => Buffer.concat([Buffer.of(3, host.length), Buffer.from(host)])
const v4 = (...bytes: number[]) => Buffer.of(1, ...bytes)
const LOOPBACK_6 = Buffer.concat([Buffer.of(4), Buffer.alloc(15), Buffer.of(1)])

test('the SOCKS proxy leads to every port of the loopback, and nowhere else', async () => {
  const { world, taskId } = await startForwardingWorld()
  const echo = await serve((socket) => socket.pipe(socket))
  const { ports, stop } = await forward(world, [taskId, '-D', '0'])
  const [proxy = 0] = ports
  for (const address of [name('localhost'), name('LocalHost'), v4(127, 0, 0, 1), v4(127, 9, 9, 9), LOOPBACK_6]) {
    const [code, socket] = await socks(proxy, address, echo)
    expect([[...address], code]).toEqual([[...address], 0])
    socket.end('there and back')
    expect(await textOf(socket)).toBe('there and back')
  }
  expect((await socks(proxy, v4(127, 0, 0, 1), await freePort()))[0]).toBe(5)
  for (const address of [name('example.org'), v4(169, 254, 169, 254), v4(0, 0, 0, 0), name('127.0.0.1.example.org')])
    expect([[...address], (await socks(proxy, address, echo))[0]]).toEqual([[...address], 2])
  expect((await socks(proxy, name('localhost'), echo, 2))[0]).toBe(7)
  const [code, socket] = await socks(proxy, Buffer.of(9), echo)
  expect(code).toBe(8)
  expect(await endingOf(socket)).toBe('end')
  const http = await dial(proxy)
  http.write('GET / HTTP/1.1\r\n\r\n')
  await endingOf(http)
  await dial(proxy) // says nothing, and holds nobody up
  const startedAt = performance.now()
  expect((await stop()).code).toBe(0)
  expect(performance.now() - startedAt).toBeLessThan(5_000)
})

test("a port of this machine is the task's, for as long as the forward runs", async () => {
  const { world, taskId } = await startForwardingWorld()
  const here = await serve((socket) => socket.pipe(socket))
  const running = await forward(world, [taskId, '-R', `0:${here}`])
  const [inTask = 0] = running.ports
  expect(inTask).not.toBe(here)
  const answers = await Promise.all(
    Array.from({ length: 20 }, async (_, at) => {
      const socket = await dial(inTask)
      socket.end(`number ${at}`)
      return textOf(socket)
    }),
  )
  expect(answers).toEqual(Array.from({ length: 20 }, (_, at) => `number ${at}`))
  const taken = await world.cli(['forward', taskId, '-R', `${inTask}:${here}`], { env: world.asAdmin })
  expect(taken).toMatchObject({ code: 9, stderr: expect.stringContaining(`port ${inTask} of the task is taken`) })

  await world.killGateway('SIGKILL')
  await world.startGateway()
  await eventually('it listens again, on the same port', async () => {
    const socket = await dial(inTask).catch(() => undefined)
    socket?.end('again')
    return socket !== undefined && (await textOf(socket).catch(() => '')) === 'again'
  })
  expect((await running.stop()).code).toBe(0)
  await eventually('nobody listens there any more', () =>
    dial(inTask).then(
      () => false,
      () => true,
    ),
  )
  const nobody = await forward(world, [taskId, '-R', `0:${await freePort()}`])
  expect(await endingOf(await dial(nobody.ports[0] ?? 0))).toBe('reset')
  await eventually('it is said', () => nobody.stderr().includes('nothing answers on port'))
})

test('what listens in the task is listed with pid and command, others of the machine apart', async () => {
  const { world, taskId } = await startForwardingWorld()
  const outside = await serve(() => {})
  const port = await freePort()
  const script = `require('http').createServer((q, s) => s.end('in the task')).listen(${port}, '127.0.0.1')`
  await world.api().raw(routes.startProcess, {
    params: { taskId },
    rawBody: JSON.stringify({ argv: [process.execPath, '-e', script], detached: true }),
    headers: { 'content-type': 'application/json' },
  })
  const list = async () => {
    const response = await world.api().raw(routes.listPorts, { params: { taskId } })
    return ListeningPorts.parse(await response.json()).ports
  }
  const found = await eventually('it listens', async () => (await list()).find((one) => one.port === port))
  expect(found).toMatchObject({ addresses: ['127.0.0.1'], own: true, command: expect.stringContaining('createServer') })
  expect((await list()).find((one) => one.port === outside)).toMatchObject({ own: false })
  const shown = await cli(world, 'ports', taskId)
  expect(shown).toContain(String(port))
  expect(shown).not.toContain(` ${outside} `)
  expect(JSON.parse(await cli(world, 'ports', '--json', taskId))).toMatchObject({ taskId, ports: [{ port }] })
  const body = await new Promise<string>((resolve) => {
    void forward(world, [taskId, `0:${port}`]).then(({ ports }) =>
      get({ port: ports[0], host: '127.0.0.1' }, async (response) => resolve(await textOf(response))),
    )
  })
  expect(body).toBe('in the task')
})

async function cli(world: World, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await world.cli(args, { env: world.asAdmin })
  expect([code, stderr]).toEqual([0, ''])
  return stdout
}

test('forward waits for a task that has not started', async () => {
  const { world, taskId } = await startForwardingWorld({ RCLAUDE_LIMITS__MAX_TASKS: '1' })
  const { id } = await world.createTask({ agent: 'command', command: ['sleep', '600'], workspace: { kind: 'none' } })
  const echo = await serve((socket) => socket.pipe(socket))
  let said = ''
  const starting = forward(world, [id, `0:${echo}`], world.asAdmin, (stderr) => {
    said = stderr
  })
  await eventually('it waits', () => said.includes(`task ${id} is queued; waiting for it`))
  await world.api().call(routes.stopTask, { params: { taskId }, body: {} })
  const { ports } = await starting
  const socket = await dial(ports[0] ?? 0)
  socket.end('at last')
  expect(await textOf(socket)).toBe('at last')
})
