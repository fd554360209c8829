import { once } from 'node:events'
import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { createServer, type Server } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Backoff } from '../../tunnel/backoff.ts'
import { connectWebSocket, parseRetryAfter } from '../../tunnel/connect.ts'
import { keepDialled } from '../../tunnel/dial.ts'
import { TunnelError, UpgradeRefused } from '../../tunnel/errors.ts'
import { createTunnel, type Tunnel } from '../../tunnel/tunnel.ts'
import { portOf, webSocketServer } from './joined.ts'

const fast = { minMs: 1, firstCeilingMs: 2, maxMs: 4 }

describe('Backoff', () => {
  it('doubles the ceiling from 1 s to 10 s and never waits under 100 ms', () => {
    const highest = new Backoff({ random: () => 1 })
    expect(Array.from({ length: 6 }, () => highest.next())).toEqual([1_000, 2_000, 4_000, 8_000, 10_000, 10_000])
    const lowest = new Backoff({ random: () => 0 })
    expect(Array.from({ length: 6 }, () => lowest.next())).toEqual([100, 100, 100, 100, 100, 100])
  })

  it('spreads waits over the whole range', () => {
    const waits = Array.from({ length: 2_000 }, () => new Backoff().next())
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(100)
    expect(Math.max(...waits)).toBeLessThanOrEqual(1_000)
    for (let from = 100; from < 1_000; from += 90) {
      const share = waits.filter((ms) => ms >= from && ms < from + 90).length / waits.length
      expect(share).toBeGreaterThan(0.05) // 0.1 on average
    }
  })

  it('waits at least as long as the server asked for, and starts anew after reset()', () => {
    const backoff = new Backoff({ random: () => 1 })
    expect(backoff.next(30_000)).toBe(31_000)
    expect(backoff.next()).toBe(2_000)
    backoff.reset()
    expect(backoff.next()).toBe(1_000)
  })
})

describe('keepDialled', () => {
  it('dials again after each session until the signal aborts', async () => {
    const stop = new AbortController()
    let sessions = 0
    await keepDialled({
      connect: async () => ++sessions,
      onSession: async (session) => {
        if (session === 5) stop.abort()
      },
      signal: stop.signal,
      backoff: fast,
    })
    expect(sessions).toBe(5)
  })

  it('retries what may pass: refused connections, 429 and 503', async () => {
    const stop = new AbortController()
    const url = 'ws://gateway/'
    const errors = [
      new TunnelError('TUNNEL_UNREACHABLE', 'connection refused'),
      new UpgradeRefused(url, { status: 429, retryAfterMs: 20, body: '' }),
      new UpgradeRefused(url, { status: 503, body: '' }),
      new UpgradeRefused(url, { status: 502, body: '' }),
    ]
    const retries: { failures: number; delayMs: number; error: unknown }[] = []
    await keepDialled({
      connect: async () => {
        const error = errors[retries.length]
        if (error !== undefined) throw error
        return 'session'
      },
      onSession: async () => stop.abort(),
      signal: stop.signal,
      onRetry: (retry) => retries.push(retry),
      backoff: fast,
    })
    expect(retries.map((retry) => retry.error)).toEqual(errors)
    expect(retries.map((retry) => retry.failures)).toEqual([1, 2, 3, 4])
    expect(retries[1]?.delayMs).toBeGreaterThan(20)
    expect(retries[2]?.delayMs).toBeLessThanOrEqual(4)
  })

  it.each([401, 403, 410, 426])('gives up at once on %i', async (status) => {
    let attempts = 0
    const refusal = new UpgradeRefused('ws://gateway/', { status, body: 'task task_8f2 has ended' })
    const dialled = keepDialled({
      connect: async () => {
        attempts += 1
        throw refusal
      },
      onSession: async () => {},
      signal: new AbortController().signal,
    })
    await expect(dialled).rejects.toBe(refusal)
    expect(attempts).toBe(1)
  })

  it('keeps backing off when sessions are short, and starts anew after a long one', async () => {
    const stop = new AbortController()
    const failures: number[] = []
    await keepDialled({
      connect: async () => failures.length,
      onSession: async (count) => {
        if (count === 3) await new Promise((resolve) => setTimeout(resolve, 60))
        if (count === 5) stop.abort()
      },
      signal: stop.signal,
      stableAfterMs: 50,
      onRetry: (retry) => failures.push(retry.failures),
      backoff: fast,
    })
    expect(failures).toEqual([1, 2, 3, 1, 2])
  })

  it('ends its wait at once when the signal aborts', async () => {
    const stop = new AbortController()
    const startedAt = performance.now()
    await keepDialled({
      connect: () => Promise.reject(new Error('no route')),
      onSession: async () => {},
      signal: stop.signal,
      onRetry: () => setTimeout(() => stop.abort(), 20),
      backoff: { minMs: 60_000, firstCeilingMs: 60_000, maxMs: 60_000 },
    })
    expect(performance.now() - startedAt).toBeLessThan(5_000)
  })

  it('brings a real tunnel back after the server dropped it', async () => {
    const { url, next } = await webSocketServer()
    const stop = new AbortController()
    const ended: string[] = []
    const dialling = keepDialled<Tunnel>({
      connect: async (signal) => createTunnel((await connectWebSocket(url, { signal })).transport, { side: 'client' }),
      onSession: async (tunnel, signal) => {
        signal.addEventListener('abort', () => void tunnel.close('stopping'), { once: true })
        ended.push((await tunnel.closed).kind)
      },
      signal: stop.signal,
      backoff: fast,
    })
    const first = createTunnel(await next(), { side: 'server' })
    await first.ping()
    const again = next()
    await first.close('restart')
    const second = createTunnel(await again, { side: 'server' })
    await second.ping()
    stop.abort()
    await dialling
    expect(ended).toEqual(['peer', 'local'])
    expect((await second.closed).kind).toBe('peer')
  })
})

describe('connectWebSocket', () => {
  const dial = (port: number, options: { signal?: AbortSignal; handshakeTimeoutMs?: number } = {}) =>
    connectWebSocket(`ws://127.0.0.1:${port}/v1/tunnel`, { signal: new AbortController().signal, ...options })

  it('reports the status, Retry-After and text of a refusal', async () => {
    const port = await httpServer((_request, response) => {
      response.writeHead(503, { 'retry-after': '7', connection: 'close' }).end('too many handshakes')
    })
    await expect(dial(port)).rejects.toMatchObject({
      code: 'TUNNEL_UPGRADE_REFUSED',
      status: 503,
      retryAfterMs: 7_000,
      headers: { 'retry-after': '7' },
      message: `ws://127.0.0.1:${port}/v1/tunnel answered 503: too many handshakes`,
    })
  })

  it('reads no more than 4 KiB of a refusal that never ends', async () => {
    const port = await httpServer((_request, response) => {
      response.writeHead(401)
      const timer = setInterval(() => response.write('x'.repeat(2_000)), 1)
      response.on('close', () => clearInterval(timer))
    })
    await expect(dial(port)).rejects.toMatchObject({ status: 401, body: 'x'.repeat(4_096) })
  })

  it('gives up at its deadline when the server accepts and says nothing', async () => {
    const port = await silentServer()
    await expect(dial(port, { handshakeTimeoutMs: 100 })).rejects.toMatchObject({
      code: 'TUNNEL_UNREACHABLE',
      message: expect.stringContaining('within 100 ms'),
    })
  })

  it('stops at once when aborted', async () => {
    const stop = new AbortController()
    const dialling = dial(await silentServer(), { signal: stop.signal })
    stop.abort(new Error('shutting down'))
    await expect(dialling).rejects.toThrow('shutting down')
    await expect(dial(1, { signal: stop.signal })).rejects.toThrow('shutting down')
  })

  it('says so when nobody listens', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const port = portOf(server)
    await new Promise((resolve) => server.close(resolve))
    await expect(dial(port)).rejects.toMatchObject({ code: 'TUNNEL_UNREACHABLE' })
  })

  it('understands both forms of Retry-After', () => {
    const now = Date.parse('2025-01-01T00:00:00Z')
    expect(parseRetryAfter('120', now)).toBe(120_000)
    expect(parseRetryAfter('Wed, 01 Jan 2025 00:00:30 GMT', now)).toBe(30_000)
    expect(parseRetryAfter('Wed, 01 Jan 2020 00:00:00 GMT', now)).toBe(0)
    expect(parseRetryAfter('soon', now)).toBeUndefined()
    expect(parseRetryAfter(undefined, now)).toBeUndefined()
  })
})

/** Without an 'upgrade' listener Node answers an upgrade as the plain request that it also is. */
async function httpServer(listener: RequestListener): Promise<number> {
  return listening(createHttpServer(listener))
}

async function silentServer(): Promise<number> {
  return listening(createServer((socket) => socket.on('error', () => {})))
}

async function listening(server: Server): Promise<number> {
  const sockets = new Set<{ destroy(): void }>()
  server.on('connection', (socket) => sockets.add(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  return portOf(server)
}
