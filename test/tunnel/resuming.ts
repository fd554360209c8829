// A tunnel that resumes, for tests: a dialling and an accepting end over real WebSockets, with a relay in between that
// can cut connections or go silent.

import { createServer, type IncomingHttpHeaders } from 'node:http'
import { connect, createServer as createTcpServer, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'
import { WebSocketServer } from 'ws'
import { AcceptedSessions } from '../../tunnel/accept-session.ts'
import { connectWebSocket } from '../../tunnel/connect.ts'
import { keepDialled } from '../../tunnel/dial.ts'
import { type Connection, SessionDialler } from '../../tunnel/dial-session.ts'
import type { ResumableOptions } from '../../tunnel/resumable.ts'
import { parseAsk } from '../../tunnel/resume-headers.ts'
import { createTunnel, type Tunnel } from '../../tunnel/tunnel.ts'
import { WEBSOCKET_LIMITS, webSocketCarrier } from '../../tunnel/websocket.ts'
import { type Options, portOf } from './joined.ts'

export interface Acceptor {
  readonly port: number
  readonly sessions: AcceptedSessions
  /** The tunnels of the accepting end, oldest first. */
  readonly tunnels: Tunnel[]
  /** Messages of refused dials. */
  readonly refusals: string[]
  stop(): Promise<void>
}

export async function startAcceptor(options: Options = {}, resumable: ResumableOptions = {}): Promise<Acceptor> {
  const sessions = new AcceptedSessions(resumable)
  const tunnels: Tunnel[] = []
  const refusals: string[] = []
  const wss = new WebSocketServer({ noServer: true, ...WEBSOCKET_LIMITS })
  let answer: Record<string, string> = {}
  wss.on('headers', (headers) => {
    for (const [name, value] of Object.entries(answer)) headers.push(`${name}: ${value}`)
  })
  const server = createServer()
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => {})
    try {
      const ask = parseAsk(request.headers)
      if (ask === undefined) throw new Error('no session was asked for')
      const admission = sessions.admit(ownerOf(request.headers), ask)
      answer = admission.headers
      wss.handleUpgrade(request, socket, head, (ws) => {
        if (admission.isNew) tunnels.push(createTunnel(admission.transport, { ...options, side: 'server' }))
        admission.attach(webSocketCarrier(ws))
      })
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      refusals.push(message)
      const status = /comes after/.test(message) ? 409 : 400
      socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: ${message.length}\r\nconnection: close\r\n\r\n${message}`)
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const port = portOf(server)
  const stop = async () => {
    for (const ws of wss.clients) ws.terminate()
    for (const tunnel of tunnels) await tunnel.close('test is over')
    await new Promise((resolve) => server.close(resolve))
  }
  onTestFinished(stop)
  return { port, sessions, tunnels, refusals, stop }
}

const ownerOf = (headers: IncomingHttpHeaders): string => headers.authorization ?? 'anybody'

export interface Relay {
  readonly port: number
  /** Where connections go to. */
  target: number
  /** Connections that were made so far. */
  connections: number
  /** Refuses new connections while true. */
  isClosed: boolean
  /** Breaks all connections: some of what is under way is lost. */
  cut(): void
  /** Passes nothing on any more, in either direction, and closes nothing. */
  goSilent(): void
}

export async function startRelay(target: number): Promise<Relay> {
  const sockets = new Set<Socket>()
  const silent = new WeakSet<Socket>()
  const server = createTcpServer((near) => {
    if (relay.isClosed) {
      near.destroy()
      return
    }
    relay.connections += 1
    const far = connect(relay.target, '127.0.0.1')
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        if (silent.has(socket)) return
        near.destroy()
        far.destroy()
      })
    }
    near.pipe(far).pipe(near)
  })
  const relay: Relay = {
    port: 0,
    target,
    connections: 0,
    isClosed: false,
    cut() {
      for (const socket of sockets) socket.resetAndDestroy()
    },
    goSilent() {
      for (const socket of sockets) {
        silent.add(socket)
        socket.unpipe()
        socket.on('data', () => {}) // read, and lost
      }
    },
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  return Object.assign(relay, { port: portOf(server) })
}

export interface Dialling {
  /** The tunnels of the dialling end, oldest first. */
  readonly tunnels: Tunnel[]
  /** Resolves with the first one. */
  readonly first: Promise<Tunnel>
  /** Connections that came about. */
  connections: number
  readonly errors: unknown[]
}

export function startDialling(
  port: number,
  options: Options = {},
  resumable: ResumableOptions = {},
  owner = 'anybody',
): Dialling {
  const stop = new AbortController()
  const stopped = new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve()))
  const tunnels: Tunnel[] = []
  let tell: (tunnel: Tunnel) => void = () => {}
  const first = new Promise<Tunnel>((resolve) => {
    tell = resolve
  })
  const dialling: Dialling = { tunnels, first, connections: 0, errors: [] }
  const dialler = new SessionDialler({
    dial: (headers, signal) =>
      connectWebSocket(`ws://127.0.0.1:${port}/`, { signal, headers: { ...headers, authorization: owner } }),
    tunnel: { ...options, side: 'client' },
    resumable,
  })
  const over = keepDialled<Connection>({
    signal: stop.signal,
    backoff: { minMs: 1, firstCeilingMs: 10, maxMs: 20 },
    isFinal: () => false,
    onRetry: ({ error }) => void (error !== undefined && dialling.errors.push(error)),
    connect: (signal) => dialler.connect(signal),
    async onSession({ tunnel, isNew, lost }) {
      dialling.connections += 1
      if (isNew) {
        tunnels.push(tunnel)
        tell(tunnel)
      }
      await Promise.race([lost, stopped])
    },
  })
  onTestFinished(async () => {
    stop.abort()
    for (const tunnel of tunnels) await tunnel.close('test is over')
    await over
  })
  return dialling
}
