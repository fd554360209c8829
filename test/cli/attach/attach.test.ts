import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { Readable, Writable } from 'node:stream'
import { afterEach, describe, expect, it } from 'vitest'
import type { ProcessServiceOptions } from '../../../agent/processes/service.ts'
import { type AttachOptions, attach, startAttach } from '../../../cli/attach/attach.ts'
import { attachPath } from '../../../cli/attach/path.ts'
import { Retries } from '../../../cli/attach/retry.ts'
import { proxyFor } from '../../../host/proxy.ts'
import { ProxyAgent } from '../../../host/proxy-agent.ts'
import type { ProcessSpecInput } from '../../../protocol/process.ts'
import { type Loopback, startLoopback, until } from '../../agent/http/loopback.ts'
import { startConnectProxy } from '../../helpers/connect-proxy.ts'
import { randomFrom } from '../../helpers/random.ts'

let open: Loopback | undefined

afterEach(async () => {
  const faults = open?.faults
  await open?.close()
  open = undefined
  expect(faults ?? []).toEqual([])
})

async function agent(options: Partial<ProcessServiceOptions> = {}) {
  open = await startLoopback(options)
  return open
}

class Sink extends Writable {
  readonly sum = createHash('sha256')
  bytes = 0
  text = ''
  readonly #delayMs: (written: number) => number

  constructor(delayMs: (written: number) => number = () => 0) {
    super({ highWaterMark: 16 * 1024 })
    this.#delayMs = delayMs
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.sum.update(chunk)
    this.bytes += chunk.length
    if (this.text.length < 10_000) this.text += chunk.toString()
    const delay = this.#delayMs(this.bytes)
    if (delay > 0) setTimeout(done, delay)
    else done()
  }
}

function client(spec: ProcessSpecInput | undefined, more: Partial<AttachOptions> = {}) {
  const stdout = new Sink()
  const stderr = new Sink()
  const reconnects: Error[] = []
  const options: AttachOptions = {
    connect: (point) => ({ url: `${open?.webSocketUrl}${attachPath(point, spec)}`, headers: {} }),
    stdout,
    stderr,
    retry: { minMs: 1, maxMs: 20 },
    onReconnect: ({ error }) => reconnects.push(error),
    ...more,
  }
  return { stdout, stderr, reconnects, options }
}

describe('attach', () => {
  it('gives both outputs and the exit of a process', async () => {
    await agent()
    const { stdout, stderr, options } = client({ argv: ['sh', '-c', 'printf "o\\0\\377"; echo e >&2; exit 9'] })
    expect(await attach(options)).toEqual({ code: 9, signal: null })
    expect([stdout.bytes, stderr.text]).toEqual([3, 'e\n'])
  })

  it('keeps stdout open after stdin closes', async () => {
    await agent()
    const { stdout, options } = client({ argv: ['sh', '-c', 'cat; sleep 0.2; echo late'], stdin: true })
    await attach({ ...options, stdin: Readable.from([Buffer.from('input '), Buffer.from('twice ')]) })
    expect(stdout.text).toBe('input twice late\n')
  })

  it('returns only when every byte is written, however slow the writable is', async () => {
    const { service } = await agent()
    const stdout = new Sink(() => 2)
    const { options } = client({ argv: ['head', '-c', '3000000', '/dev/zero'] }, { stdout })
    expect(await attach(options)).toEqual({ code: 0, signal: null })
    expect(stdout.bytes).toBe(3_000_000)
    await until('the agent knows that all was consumed', () => service.list()[0]?.info().stdout.start === 3_000_000)
  })

  it('holds little of 100 MB in memory while the writable is slow, on either side', { timeout: 60_000 }, async () => {
    const { service } = await agent()
    let most = 0
    const stdout = new Sink((written) => {
      const info = service.list()[0]?.info()
      if (info !== undefined) most = Math.max(most, info.stdout.end - written)
      return written < 10_000_000 ? 1 : 0
    })
    const { options } = client({ argv: ['head', '-c', '100000000', '/dev/zero'] }, { stdout })
    await attach(options)
    const expected = createHash('sha256')
    for (let i = 0; i < 100; i++) expected.update(Buffer.alloc(1e6))
    expect(stdout.sum.digest('hex')).toBe(expected.digest('hex'))
    expect(most).toBeLessThan(4 * 1024 ** 2 + 512 * 1024)
  })

  it('goes on at the exact byte after 50 cuts at random, with input applied once', { timeout: 60_000 }, async () => {
    const { sockets } = await agent()
    const seed = Number(process.env.RCLAUDE_TEST_SEED ?? Date.now() % 1_000_000)
    console.log(`seed ${seed} (RCLAUDE_TEST_SEED=${seed} repeats it)`)
    const random = randomFrom(seed)
    const cutsWanted = 50
    const expected = createHash('sha256')
    let cuts = 0
    let sent = 0
    /** Goes on until every connection that is to be cut has been, so that all cuts fall into the transfer. */
    function* input() {
      for (let n = 0; cuts < cutsWanted || sent < 8_000_000; ) {
        const block = Buffer.alloc(8 * (1 + Math.floor(random() * 12_000)))
        for (let i = 0; i < block.length; i += 8) block.writeDoubleLE(n++, i)
        expected.update(block)
        sent += block.length
        yield block
      }
    }
    const cut = () => {
      const alive = [...sockets].filter((socket) => !socket.destroyed)
      if (alive.length === 0) return void setTimeout(cut, 1) // the server has not seen it yet
      cuts++
      cutAt = Number.POSITIVE_INFINITY
      for (const socket of alive) socket.destroy()
    }
    let cutAt = Number.POSITIVE_INFINITY
    const stdout = new Sink((written) => {
      if (written >= cutAt) cut()
      return random() < 0.02 ? 1 : 0
    })
    const { options, reconnects } = client(undefined, { stdout, random })
    const exit = await attach({
      ...options,
      connect: (point) => {
        // Each connection is cut once: some in the handshake, most after a random number of bytes.
        if (cuts < cutsWanted && random() < 0.2) setTimeout(cut, random() * 6)
        else if (cuts < cutsWanted) cutAt = stdout.bytes + Math.floor(random() * 400_000)
        return { url: `${open?.webSocketUrl}${attachPath(point, { argv: ['cat'], stdin: true })}`, headers: {} }
      },
      stdin: Readable.from(input(), { objectMode: false, highWaterMark: 256 * 1024 }),
    })
    expect(exit).toEqual({ code: 0, signal: null })
    expect(stdout.bytes).toBe(sent)
    expect(stdout.sum.digest('hex')).toBe(expected.digest('hex'))
    expect(cuts).toBe(cutsWanted)
    expect(reconnects.length).toBeGreaterThanOrEqual(cutsWanted)
  })

  it('writes once what was received before a cut and taken by the writable only after it', async () => {
    const { sockets } = await agent()
    const { reconnects, options } = client({
      argv: ['sh', '-c', 'head -c 2000000 /dev/urandom | tee sent; cat'],
      stdin: true,
    })
    const taken: Buffer[] = []
    let release: (() => void) | undefined
    const slow = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        taken.push(chunk)
        if (release === undefined && reconnects.length === 0) release = done
        else done()
      },
    })
    const input = new Readable({ read() {} })
    const attached = startAttach({ ...options, stdout: slow, stdin: input })
    await until('the first bytes wait in the writable', () => release !== undefined && slow.writableLength >= 1_000_000)
    for (const socket of sockets) socket.destroy()
    const isSentAgain = () => [...sockets].some((socket) => !socket.destroyed && socket.bytesWritten >= 1_000_000)
    await until('the waiting bytes came again', isSentAgain)
    release?.()
    input.push(null)
    expect((await attached.exit).code).toBe(0)
    const sent = await readFile(`${open?.workspace}/sent`)
    expect(Buffer.concat(taken).equals(sent)).toBe(true)
  })

  it('starts the process once although the first connections are cut before any answer', async () => {
    const { service, server, workspace } = await agent()
    let cuts = 0
    server.on('upgrade', (_request, socket) => {
      if (cuts < 3) setTimeout(() => socket.destroy(), cuts++) // at once, and while the process is being started
    })
    const script = `echo ran >> ${workspace}/runs; sleep 0.2; cat ${workspace}/runs`
    const { stdout, reconnects, options } = client({ argv: ['sh', '-c', script] })
    expect((await attach(options)).code).toBe(0)
    expect(stdout.text).toBe('ran\n')
    expect(service.list()).toHaveLength(1)
    expect(reconnects).toHaveLength(3)
  })

  it('tells of bytes that were lost while it was away', async () => {
    const { service } = await agent({ journal: { segmentBytes: 64 * 1024, quotaBytes: 256 * 1024 } })
    const started = await service.start({
      argv: ['head', '-c', '5000000', '/dev/zero'],
      env: {},
      stdin: false,
      detached: true,
    })
    await started.finished
    await until('the quota is kept', () => started.info().stdout.start >= 5_000_000 - 256 * 1024)
    const gaps: { from: number; to: number }[] = []
    const { stdout, options } = client(undefined, { processId: started.id, onGap: (gap) => gaps.push(gap) })
    expect((await attach(options)).code).toBe(0)
    expect(gaps).toHaveLength(1)
    expect(gaps[0]).toMatchObject({ channel: 'stdout', from: 0, to: 5_000_000 - stdout.bytes })
  })

  it('sends signals, those given while there is no connection too', async () => {
    const { sockets } = await agent()
    let up = true
    const { options, stdout } = client(undefined)
    const spec = { argv: ['sh', '-c', 'trap "echo got; exit 3" USR1; echo ready; while :; do sleep 0.05; done'] }
    const attached = startAttach({
      ...options,
      connect: (point) => ({
        url: up ? `${open?.webSocketUrl}${attachPath(point, spec)}` : 'ws://127.0.0.1:1',
        headers: {},
      }),
    })
    await until('it is ready', () => stdout.text === 'ready\n')
    up = false
    for (const socket of sockets) socket.destroy()
    await until('the connection is lost', () => sockets.size === 0)
    attached.signal('SIGUSR1')
    up = true
    expect(await attached.exit).toEqual({ code: 3, signal: null })
    expect(stdout.text).toBe('ready\ngot\n')
  })

  it('detaches when its signal fires, and another client goes on with output and input', async () => {
    const { service } = await agent()
    const controller = new AbortController()
    const first = client({ argv: ['cat'], stdin: true }, { signal: controller.signal })
    const input = new Readable({ read() {} })
    input.push('one ')
    const attached = startAttach({ ...first.options, stdin: input })
    await until('echo', () => first.stdout.text === 'one ')
    controller.abort(new Error('detached by the user'))
    await expect(attached.exit).rejects.toThrow('detached by the user')
    await until('the agent noticed', () => service.get(attached.processId).hasClient === false)
    expect(service.get(attached.processId).exit).toBeUndefined()

    const second = client(undefined, { processId: attached.processId, since: { stdout: 4, stderr: 0 } })
    expect((await attach({ ...second.options, stdin: Readable.from([Buffer.from('two')]) })).code).toBe(0)
    expect(second.stdout.text).toBe('two')
  })

  it('ends with a clear error when refused, taken over, or without a connection for too long', async () => {
    const { service, url } = await agent()
    const missing = client({ argv: ['no-such-program'] })
    await expect(attach(missing.options)).rejects.toMatchObject({
      code: 'program_missing',
      message: expect.stringContaining('no-such-program'),
    })
    expect(missing.reconnects).toEqual([])

    const first = client({ argv: ['sleep', '60'] })
    const attached = startAttach(first.options)
    await until('it runs', () => service.list().length === 1)
    const second = startAttach(client(undefined, { processId: attached.processId }).options)
    await expect(attached.exit).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('took this process over'),
    })
    expect((await fetch(`${url}/processes/${attached.processId}`, { method: 'DELETE' })).status).toBe(200)
    expect(await second.exit).toMatchObject({ reason: 'stopped' })

    let clock = 0
    const nowhere = client(undefined, {
      connect: () => ({ url: 'ws://127.0.0.1:1', headers: {} }),
      retry: { minMs: 1, maxMs: 2, giveUpMs: 100 },
      now: () => (clock += 20),
    })
    await expect(attach(nowhere.options)).rejects.toMatchObject({ code: 'unavailable' })
    expect(nowhere.reconnects).toHaveLength(5)
  })

  it('fails with the error of its own stdout, at once', async () => {
    await agent()
    const broken = new Writable({ write: (_chunk, _encoding, done) => done(new Error('EPIPE')) })
    const { options } = client({ argv: ['sh', '-c', 'echo x; sleep 60'] }, { stdout: broken })
    await expect(attach(options)).rejects.toThrow('EPIPE')
  })
})

describe('retries', () => {
  it('wait between the least and half of the time without a connection, and give up in time', () => {
    const policy = { minMs: 100, maxMs: 5_000, giveUpMs: 60_000 }
    const waits = (random: number) => {
      let now = 7_000_000
      const retries = new Retries(
        policy,
        () => random,
        () => now,
      )
      const delays: number[] = []
      for (let next = retries.next(); next !== undefined; next = retries.next()) {
        delays.push(next.delayMs)
        now += next.delayMs
      }
      retries.reset()
      expect(retries.next()).toEqual({ attempt: 1, delayMs: 100 + random * 100 })
      return delays
    }
    expect(waits(0)).toEqual(Array(601).fill(100))
    const longest = waits(1)
    let lostMs = 0
    for (const delay of longest) {
      expect(delay).toBe(Math.min(5_000, Math.max(200, lostMs / 2)))
      lostMs += delay
    }
    expect(longest.length).toBeLessThan(25)
    expect(lostMs).toBeGreaterThan(60_000)
  })
})

describe('through a proxy', () => {
  const through = async (status?: number) => {
    const { webSocketUrl } = await agent()
    const far = webSocketUrl.replace('127.0.0.1', 'agent.test')
    const way = await startConnectProxy(status === undefined ? {} : { status })
    const proxy = proxyFor(far, { HTTP_PROXY: way.url })
    const spec = { argv: ['echo', 'hello'] }
    const connecting = client(spec, {
      ...(proxy && {
        connect: (point) => ({ url: far + attachPath(point, spec), headers: {}, agent: new ProxyAgent(proxy, far) }),
      }),
      retry: { minMs: 1, maxMs: 20, giveUpMs: 300 },
    })
    return { ...connecting, way }
  }

  it('a process is started and its output comes back', async () => {
    const { options, stdout, way } = await through()
    expect(await attach(options)).toMatchObject({ code: 0 })
    expect(stdout.text).toBe('hello\n')
    expect(way.connects).toHaveLength(1)
  })

  it('one that does not let us through is told at once', async () => {
    const { options, reconnects, way } = await through(403)
    await expect(attach(options)).rejects.toThrow(/\(from HTTP_PROXY\) does not let us through to agent\.test/)
    expect(reconnects).toEqual([])
    expect(way.connects).toHaveLength(1)
  })

  it('one that cannot reach the gateway at the moment is asked again', async () => {
    const { options, way } = await through(502)
    await expect(attach(options)).rejects.toThrow(/no connection to process .* did not connect us to agent\.test/)
    expect(way.connects.length).toBeGreaterThan(2)
  })
})
