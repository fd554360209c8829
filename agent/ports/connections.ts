/**
 * Connections that are forwarded for clients. Each outlives its WebSocket: who opened it takes it up again under its id,
 * and goes on at the exact byte. One that nobody takes up is reset.
 */
import type { Socket } from 'node:net'
import type { RawData, WebSocket } from 'ws'
import { tcpEnd } from '../../host/tcp-end.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { type ConnectionId, newConnectionId } from '../../protocol/ids.ts'
import { PORT_RESUME_MS } from '../../protocol/port.ts'
import { PortPipe } from '../../protocol/port-pipe.ts'
import { pingRegularly } from '../ping.ts'

/** Also where the gateway sets no lower limit: what one machine holds for clients. */
const MAX_CONNECTIONS = 1_024
/** How long the other side may take to say goodbye. */
const GOODBYE_MS = 2_000

interface Held {
  pipe: PortPipe
  user: string
  webSocket: WebSocket | undefined
  /** A client has it, or had it. */
  wasJoined: boolean
  timer: NodeJS.Timeout | undefined
}

export class PortConnections {
  readonly #held = new Map<ConnectionId, Held>()
  readonly #resumeMs: number

  constructor(options: { resumeMs?: number } = {}) {
    this.#resumeMs = options.resumeMs ?? PORT_RESUME_MS
  }

  get size(): number {
    return this.#held.size
  }

  /** @throws RclaudeError `limit` */
  checkRoom(): void {
    if (this.#held.size >= MAX_CONNECTIONS)
      throw new RclaudeError('limit', `the task has ${MAX_CONNECTIONS} forwarded connections already`, {
        retryAfterSeconds: 1,
      })
  }

  /** Whose it is decides who may take it up. A connection waits for its first WebSocket as for any other. */
  hold(socket: Socket, user: string, id: ConnectionId = newConnectionId()): ConnectionId {
    const pipe: PortPipe = new PortPipe(
      tcpEnd(socket, {
        onData: (bytes) => pipe.onData(bytes),
        onEnd: () => pipe.onEnd(),
        onFailed: () => pipe.onFailed(),
      }),
      () => this.#forget(id),
    )
    this.#held.set(id, { pipe, user, webSocket: undefined, wasJoined: false, timer: undefined })
    this.#waitForClient(id)
    return id
  }

  has(id: ConnectionId, user: string): boolean {
    return this.#held.get(id)?.user === user
  }

  isTaken(id: ConnectionId): boolean {
    return this.#held.has(id)
  }

  /** Joins it to a WebSocket; one from before, which may be dead without knowing it, is left. */
  join(id: ConnectionId, webSocket: WebSocket): void {
    const held = this.#held.get(id)
    if (held === undefined) return void webSocket.close(1008, 'it is over')
    const before = held.webSocket
    held.wasJoined = true
    held.webSocket = webSocket
    clearTimeout(held.timer)
    before?.terminate()
    webSocket.on('message', (data: RawData, isBinary) => {
      if (held.webSocket !== webSocket) return
      held.pipe.receive(isBinary ? (data as Buffer) : new Uint8Array(0))
    })
    webSocket.on('error', () => {}) // 'close' follows
    webSocket.once('close', () => {
      if (held.webSocket !== webSocket) return
      held.webSocket = undefined
      held.pipe.disconnect()
      if (this.#held.get(id) === held) this.#waitForClient(id)
    })
    pingRegularly(webSocket)
    held.pipe.connect({
      send: (message) => webSocket.send(message, () => {}),
      close: (code, reason) => closeSoon(webSocket, code, reason),
    })
  }

  /** Resets it when no client has ever had it: whoever was told of it is gone. */
  dropUnclaimed(id: ConnectionId): void {
    const held = this.#held.get(id)
    if (held?.wasJoined === false) held.pipe.abandon()
  }

  /** Resets all of them. */
  close(): void {
    for (const { pipe } of [...this.#held.values()]) pipe.abandon()
  }

  #waitForClient(id: ConnectionId): void {
    const held = this.#held.get(id)
    if (held === undefined) return
    clearTimeout(held.timer)
    held.timer = setTimeout(() => held.pipe.abandon(), this.#resumeMs)
    held.timer.unref()
  }

  #forget(id: ConnectionId): void {
    clearTimeout(this.#held.get(id)?.timer)
    this.#held.delete(id)
  }
}

export function closeSoon(webSocket: WebSocket, code: number, reason: string): void {
  webSocket.close(code, reason)
  const timer = setTimeout(() => webSocket.terminate(), GOODBYE_MS)
  timer.unref()
  webSocket.once('close', () => clearTimeout(timer))
}
