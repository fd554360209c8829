import { afterEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import type { ProcessServiceOptions } from '../../../agent/processes/service.ts'
import { newProcessId } from '../../../protocol/ids.ts'
import { ATTACH_PROTOCOL, CHANNEL, type ProcessSpecInput, ServerControl } from '../../../protocol/process.ts'
import { type Loopback, startLoopback, until } from './loopback.ts'

let open: Loopback | undefined
let sockets: WebSocket[] = []

afterEach(async () => {
  for (const socket of sockets) socket.terminate()
  sockets = []
  const faults = open?.faults
  await open?.close()
  open = undefined
  expect(faults ?? []).toEqual([])
})

async function agent(options: Partial<ProcessServiceOptions> = {}) {
  open = await startLoopback(options)
  return open
}

/** A client that does only what a test tells it to: no acknowledgements of its own. */
function dial(path: string, protocols = [ATTACH_PROTOCOL]) {
  const socket = new WebSocket(`${open?.webSocketUrl}${path}`, protocols)
  sockets.push(socket)
  const controls: ServerControl[] = []
  const received = { stdout: 0, stderr: 0 }
  const text = { stdout: '', stderr: '' }
  socket.on('error', () => {})
  socket.on('message', (data: Buffer) => {
    const channel = data[0] === CHANNEL.stdout ? 'stdout' : data[0] === CHANNEL.stderr ? 'stderr' : undefined
    if (channel === undefined) controls.push(ServerControl.parse(JSON.parse(data.subarray(1).toString())))
    else {
      received[channel] += data.length - 1
      if (received[channel] < 100_000) text[channel] += data.subarray(1).toString()
    }
  })
  const send = (channel: number, bytes: Buffer | string) =>
    socket.send(Buffer.concat([Buffer.from([channel]), Buffer.from(bytes)]))
  return {
    socket,
    controls,
    received,
    text,
    send,
    control: (value: unknown) => send(CHANNEL.control, JSON.stringify(value)),
    find: <T extends ServerControl['type']>(type: T) =>
      controls.find((one): one is Extract<ServerControl, { type: T }> => one.type === type),
    closed: new Promise<{ code: number; reason: string }>((resolve) => {
      socket.on('close', (code, reason) => resolve({ code, reason: String(reason) }))
    }),
    refused: new Promise<number | undefined>((resolve) => {
      socket.on('unexpected-response', (_request, response) => {
        response.resume()
        resolve(response.statusCode)
      })
    }),
  }
}

const startPath = (spec: ProcessSpecInput, id?: string) =>
  `/processes/attach?${id === undefined ? '' : `id=${id}&`}spec=${Buffer.from(JSON.stringify(spec)).toString('base64url')}`

describe('attach', () => {
  it('says started, then the output of both channels, then exit', async () => {
    await agent()
    const client = dial(startPath({ argv: ['sh', '-c', 'echo out; echo err >&2; exit 5'] }))
    await until('exit', () => client.find('exit') !== undefined)
    expect(client.controls[0]?.type).toBe('started')
    expect(client.text).toEqual({ stdout: 'out\n', stderr: 'err\n' })
    expect(client.controls.at(-1)).toEqual({ type: 'exit', exit: { code: 5, signal: null }, stdout: 4, stderr: 4 })
    expect(client.socket.protocol).toBe(ATTACH_PROTOCOL)
  })

  it('carries input, its end, and signals', async () => {
    const { service } = await agent()
    const cat = dial(startPath({ argv: ['cat'], stdin: true }))
    await until('started', () => cat.find('started') !== undefined)
    cat.send(CHANNEL.stdin, 'hello')
    await until('echo', () => cat.text.stdout === 'hello')
    await until('input is acknowledged', () => cat.controls.some((one) => one.type === 'ack' && one.stdin === 5))
    cat.send(CHANNEL.close, Buffer.from([CHANNEL.stdin]))
    await until('exit', () => cat.find('exit')?.exit.code === 0)

    const sleep = dial(startPath({ argv: ['sleep', '60'] }))
    await until('started', () => sleep.find('started') !== undefined)
    sleep.control({ type: 'signal', signal: 'SIGNOPE' })
    await until('told', () => sleep.find('error')?.code === 'invalid')
    sleep.control({ type: 'signal', signal: 'SIGTERM' })
    await until('exit', () => sleep.find('exit')?.exit.signal === 'SIGTERM')
    expect(service.list()).toHaveLength(2)
  })

  it('sends no more than the window until the client acknowledges, and holds the process back', async () => {
    const { service } = await agent()
    const client = dial(startPath({ argv: ['head', '-c', '30000000', '/dev/zero'] }))
    const window = 4 * 1024 ** 2
    await until('the window is full', () => client.received.stdout >= window)
    const held = client.received.stdout
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(client.received.stdout).toBe(held)
    expect(held).toBeLessThan(window + 256 * 1024)
    const info = service.list()[0]?.info()
    expect(info?.stdout.end).toBeLessThan(window + 256 * 1024)
    client.control({ type: 'ack', stdout: 1_000_000, stderr: 0 })
    await until('a million more', () => client.received.stdout >= window + 1_000_000)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(client.received.stdout).toBeLessThan(window + 1_000_000 + 512 * 1024)
  })

  it('lets a new client take over, and listens to the old one no more', async () => {
    const { service } = await agent()
    const id = newProcessId()
    const first = dial(startPath({ argv: ['cat'], stdin: true }, id))
    await until('started', () => first.find('started') !== undefined)
    const second = dial(`/processes/${id}/attach?stdout=0&stderr=0`)
    expect(await first.closed).toEqual({ code: 4409, reason: 'taken over' })
    await until('started', () => second.find('started') !== undefined)
    second.send(CHANNEL.stdin, 'x')
    await until('echo', () => second.text.stdout === 'x')
    expect(service.get(id).stdin.accepted).toBe(1)
  })

  it('starts once when a start is repeated under the same id', async () => {
    const { service } = await agent()
    const path = startPath({ argv: ['sleep', '60'] }, newProcessId())
    const first = dial(path)
    const second = dial(path)
    await until('both are answered', () => first.find('started') !== undefined && second.find('started') !== undefined)
    expect(service.list()).toHaveLength(1)
  })

  it('leaves a foreground process running when its client vanishes, and spills after a while', async () => {
    const { service } = await agent({ journal: { clientGraceMs: 50 } })
    const client = dial(startPath({ argv: ['head', '-c', '30000000', '/dev/zero'] }))
    await until('the window is full', () => client.received.stdout >= 4 * 1024 ** 2)
    client.socket.terminate()
    const [process] = service.list()
    expect(await process?.finished).toEqual({ code: 0, signal: null })
    expect(process?.info().stdout).toEqual({ start: 0, end: 30_000_000 })
  })

  it('refuses before the upgrade what it cannot serve', async () => {
    const { service } = await agent()
    const { id } = await service.start({ argv: ['true'], env: {}, stdin: false, detached: false })
    await service.get(id).finished
    const cases: [string, number, string[]?][] = [
      ['/processes/proc_aaaaaaaaaaaa/attach', 404],
      [`/processes/${id}/attach?stdout=1`, 400],
      [`/processes/${id}/attach?stdout=-1`, 400],
      ['/processes/attach?spec=%%%', 400],
      ['/processes/attach', 400],
      [startPath({ argv: ['no-such-program'] }), 400],
      ['/elsewhere', 404],
      [`/processes/${id}/attach`, 400, ['other.protocol']],
    ]
    for (const [path, status, protocols] of cases) {
      expect([path, await dial(path, protocols).refused]).toEqual([path, status])
    }
  })

  it('closes the connection of a client that breaks the protocol, and nothing else', async () => {
    const { service, faults } = await agent()
    const id = newProcessId()
    await service.start({ argv: ['cat'], env: {}, stdin: true, detached: true }, { id })
    const breaches: [string, number, (client: ReturnType<typeof dial>) => void][] = [
      ['text', 1002, ({ socket }) => socket.send('text')],
      ['empty', 1002, ({ socket }) => socket.send(Buffer.alloc(0))],
      ['output channel', 1002, ({ send }) => send(CHANNEL.stdout, 'x')],
      ['close of stdout', 1002, ({ send }) => send(CHANNEL.close, Buffer.from([CHANNEL.stdout]))],
      ['no JSON', 1002, ({ send }) => send(CHANNEL.control, '{')],
      ['unknown control', 1002, ({ control }) => control({ type: 'reboot' })],
      ['ack of what was not sent', 1008, ({ control }) => control({ type: 'ack', stdout: 1, stderr: 0 })],
      ['negative ack', 1002, ({ control }) => control({ type: 'ack', stdout: -1, stderr: 0 })],
      ['huge message', 1009, ({ send }) => send(CHANNEL.stdin, Buffer.alloc(2 * 1024 ** 2))],
    ]
    for (const [name, code, breach] of breaches) {
      const client = dial(`/processes/${id}/attach`)
      await until('started', () => client.find('started') !== undefined)
      breach(client)
      expect([name, (await client.closed).code]).toEqual([name, code])
    }
    expect(service.get(id).exit).toBeUndefined()
    expect(faults).toEqual([])
  })

  it('bounds the input that waits for a process which does not read', async () => {
    const { service } = await agent()
    const client = dial(startPath({ argv: ['sleep', '60'], stdin: true }))
    await until('started', () => client.find('started') !== undefined)
    for (let i = 0; i < 4; i++) client.send(CHANNEL.stdin, Buffer.alloc(1024 ** 2))
    expect((await client.closed).code).toBe(1008)
    expect(service.list()[0]?.stdin.pending).toBeLessThanOrEqual(2 * 1024 ** 2)
    expect(service.list()[0]?.exit).toBeUndefined()
  })
})
