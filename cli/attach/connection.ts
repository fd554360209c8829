/** One WebSocket of an attachment: from dialling to its end, which is a value. Retrying is the caller's. */
import type { Agent, IncomingMessage } from 'node:http'
import { type RawData, WebSocket } from 'ws'
import { RclaudeError } from '../../protocol/errors.ts'
import {
  ATTACH_PROTOCOL,
  ATTACH_WINDOW_BYTES,
  CHANNEL,
  CLOSE_TAKEN_OVER,
  type ClientControl,
  type OutputChannel,
  ServerControl,
} from '../../protocol/process.ts'
import { refusalOf, refusalText } from '../refusal.ts'
import { type ConnectionEnd, failureOf, GOODBYE_MS, HANDSHAKE_MS, onSilence, RETRYABLE_STATUS } from '../web-socket.ts'

/** Close codes that say we are at fault; another try would end the same. */
const FINAL_CLOSE = new Set([1002, 1003, 1007, 1008, 1009])

export interface Target {
  url: string
  headers: Record<string, string>
  /** Makes the connection, when it leads through a proxy. */
  agent?: Agent | undefined
}

export interface ConnectionHandlers {
  onControl(control: ServerControl): void
  onOutput(channel: OutputChannel, bytes: Buffer): void
  /** A terminal's whole screen, of which `screen` told before. */
  onScreen(bytes: Buffer): void
}

export class Connection {
  readonly ended: Promise<ConnectionEnd>
  readonly #webSocket: WebSocket
  readonly #handlers: ConnectionHandlers
  #settle: (end: ConnectionEnd) => void = () => {}
  #over = false

  constructor(target: Target, handlers: ConnectionHandlers) {
    this.#handlers = handlers
    this.ended = new Promise((resolve) => {
      this.#settle = (end) => {
        this.#over = true // nothing that still arrives is handled
        resolve(end)
      }
    })
    const webSocket = new WebSocket(target.url, [ATTACH_PROTOCOL], {
      headers: target.headers,
      ...(target.agent && { agent: target.agent }),
      perMessageDeflate: false,
      handshakeTimeout: HANDSHAKE_MS,
      maxPayload: ATTACH_WINDOW_BYTES,
    })
    this.#webSocket = webSocket
    webSocket.on('unexpected-response', (_request, response) => void this.#refused(response))
    webSocket.on('message', (data, isBinary) => this.#receive(data, isBinary))
    webSocket.on('error', (error) => this.#settle(failureOf(error)))
    webSocket.on('close', (code, reason) => this.#settle(endOf(code, reason.toString())))
    onSilence(webSocket, () => this.drop(new Error('the connection is silent')))
  }

  /** False when there is no connection to send it on. */
  send(channel: number, bytes: Uint8Array): boolean {
    if (this.#over || this.#webSocket.readyState !== WebSocket.OPEN) return false
    const message = Buffer.allocUnsafe(bytes.length + 1)
    message[0] = channel
    message.set(bytes, 1)
    this.#webSocket.send(message, () => {}) // a failed send shows as the connection's end
    return true
  }

  control(control: ClientControl): boolean {
    return this.send(CHANNEL.control, Buffer.from(JSON.stringify(control)))
  }

  /** Delivers what was sent, and says goodbye. */
  close(): void {
    this.#settle({ kind: 'lost', error: new Error('closed by us') })
    this.#webSocket.close(1000)
    const timer = setTimeout(() => this.#webSocket.terminate(), GOODBYE_MS)
    this.#webSocket.once('close', () => clearTimeout(timer))
  }

  /** At once, without waiting for the other side. Does nothing to a connection that is over. */
  drop(error: Error): void {
    if (this.#over) return
    this.#settle({ kind: 'lost', error })
    this.#webSocket.terminate()
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.#over) return
    try {
      if (!isBinary) throw new Error('a text message')
      this.#handle(data as Buffer)
    } catch (error) {
      const what = error instanceof Error ? error.message : String(error)
      const refusal = new RclaudeError('agent_failed', `the agent broke the attach protocol: ${what}`, { cause: error })
      this.#settle({ kind: 'refused', error: refusal })
      this.#webSocket.terminate()
    }
  }

  #handle(message: Buffer): void {
    const body = message.subarray(1)
    switch (message[0]) {
      case CHANNEL.stdout:
        this.#handlers.onOutput('stdout', body)
        break
      case CHANNEL.stderr:
        this.#handlers.onOutput('stderr', body)
        break
      case CHANNEL.screen:
        this.#handlers.onScreen(body)
        break
      case CHANNEL.control:
        this.#handlers.onControl(ServerControl.parse(JSON.parse(body.toString('utf8'))))
        break
      default:
        throw new Error(`channel ${message[0]}`)
    }
  }

  async #refused(response: IncomingMessage): Promise<void> {
    const status = response.statusCode ?? 0
    const error = refusalOf(status, await refusalText(response))
    // A limit that does not say when to come again does not end by itself.
    const isFinal = !RETRYABLE_STATUS.has(status) || (status === 429 && error.retryAfterSeconds === undefined)
    this.#settle(isFinal ? { kind: 'refused', error } : { kind: 'lost', error })
    this.#webSocket.terminate()
  }
}

function endOf(code: number, reason: string): ConnectionEnd {
  if (code === CLOSE_TAKEN_OVER)
    return {
      kind: 'refused',
      error: new RclaudeError('conflict', 'another client attached and took this process over'),
    }
  if (FINAL_CLOSE.has(code))
    return {
      kind: 'refused',
      error: new RclaudeError('internal', `the agent closed the connection: ${reason || code}`),
    }
  return { kind: 'lost', error: new Error(`the connection was closed (${reason || code})`) }
}
