/** One WebSocket of a forwarded connection, or of a listener: from dialling to its end, which is a value. */
import type { Agent } from 'node:http'
import { type RawData, WebSocket } from 'ws'
import { RclaudeError } from '../../protocol/errors.ts'
import { PORT_WINDOW_BYTES } from '../../protocol/port.ts'
import { refusalOf, refusalText } from '../refusal.ts'
import { type ConnectionEnd, failureOf, GOODBYE_MS, HANDSHAKE_MS, onSilence, RETRYABLE_STATUS } from '../web-socket.ts'

/** The way to one task. */
export interface Way {
  /** `wss://gateway/v1/tasks/T` */
  url: string
  headers: Record<string, string>
  agent: Agent | undefined
}

export interface LinkHandlers {
  onOpen(): void
  onMessage(message: Buffer, isBinary: boolean): void
}

/** Close codes that say that it is over, or that we are at fault; another try would end the same. */
const FINAL_CLOSE = new Set([1000, 1002, 1003, 1007, 1008, 1009])

export class Link {
  readonly ended: Promise<ConnectionEnd>
  readonly #webSocket: WebSocket
  #settle: (end: ConnectionEnd) => void = () => {}
  #isOver = false

  constructor(way: Way, path: string, protocol: string, handlers: LinkHandlers) {
    this.ended = new Promise((resolve) => {
      this.#settle = (end) => {
        this.#isOver = true
        resolve(end)
      }
    })
    const webSocket = new WebSocket(way.url + path, [protocol], {
      headers: way.headers,
      ...(way.agent && { agent: way.agent }),
      perMessageDeflate: false,
      handshakeTimeout: HANDSHAKE_MS,
      maxPayload: PORT_WINDOW_BYTES + 1,
    })
    this.#webSocket = webSocket
    webSocket.once('open', () => {
      if (!this.#isOver) handlers.onOpen()
    })
    webSocket.on('message', (data: RawData, isBinary) => {
      if (!this.#isOver) handlers.onMessage(data as Buffer, isBinary)
    })
    webSocket.on('unexpected-response', async (_request, response) => {
      const status = response.statusCode ?? 0
      const error = refusalOf(status, await refusalText(response))
      const isLost = RETRYABLE_STATUS.has(status) && error.code !== 'port_refused'
      this.#settle(isLost ? { kind: 'lost', error } : { kind: 'refused', error })
      webSocket.terminate()
    })
    webSocket.on('error', (error) => this.#settle(failureOf(error)))
    webSocket.on('close', (code, reason) => this.#settle(endOf(code, reason.toString())))
    onSilence(webSocket, () => this.drop(new Error('the connection is silent')))
  }

  send(message: Uint8Array): void {
    if (this.#webSocket.readyState === WebSocket.OPEN) this.#webSocket.send(message, () => {}) // a failure ends it
  }

  /** Delivers what was sent, and says goodbye. */
  close(code = 1000, reason = ''): void {
    this.#settle({ kind: 'lost', error: new Error('closed by us') })
    this.#webSocket.close(code, reason)
    const timer = setTimeout(() => this.#webSocket.terminate(), GOODBYE_MS)
    this.#webSocket.once('close', () => clearTimeout(timer))
  }

  /** At once, without waiting for the other side. Does nothing to one that is over. */
  drop(error: Error): void {
    if (this.#isOver) return
    this.#settle({ kind: 'lost', error })
    this.#webSocket.terminate()
  }
}

const endOf = (code: number, reason: string): ConnectionEnd =>
  FINAL_CLOSE.has(code)
    ? { kind: 'refused', error: new RclaudeError('agent_failed', `the agent closed the connection: ${reason || code}`) }
    : { kind: 'lost', error: new Error(`the connection was closed (${reason || code})`) }
