/**
 * One attached WebSocket: carries output to the client within its window, and the client's input, acknowledgements and
 * signals to the process. A client that breaks the protocol loses its connection (1002 malformed, 1008 not allowed) and
 * nothing else happens.
 */
import type { RawData, WebSocket } from 'ws'
import { RclaudeError } from '../../protocol/errors.ts'
import {
  ATTACH_WINDOW_BYTES,
  CHANNEL,
  ClientControl,
  type OutputChannel,
  type ServerControl,
  STDIN_WINDOW_BYTES,
  TERMINAL_WINDOW_BYTES,
  type TerminalSize,
} from '../../protocol/process.ts'
import { BlockPool } from '../../tunnel/block-pool.ts'
import { pingRegularly } from '../ping.ts'
import type { Attachment, ManagedProcess, Offsets } from '../processes/managed-process.ts'
import type { ProcessStdin } from '../processes/stdin.ts'
import type { Terminal, Viewer } from '../terminals/terminal.ts'
import { showTerminal, type TerminalClient } from './terminal-output.ts'

/** What may wait in the socket before more is read from the journal. */
const SOCKET_QUEUE_BYTES = 1024 * 1024
/** A client keeps to the window since our `ack`; one that counts from `stdinAccepted` instead may be a window ahead. */
const MAX_PENDING_STDIN = 2 * STDIN_WINDOW_BYTES
/** A full read of a process's pipe, and the channel. */
const messages = new BlockPool(64 * 1024 + 1)

const MALFORMED = 1002
const NOT_ALLOWED = 1008
const FAULT = 1011

export interface AttachSessionOptions {
  webSocket: WebSocket
  process: ManagedProcess
  since: Offsets
  attachment: Attachment
  /** Of a terminal. */
  viewer?: Viewer | undefined
  /** Begin with the screen instead of `since`. */
  screen?: boolean
}

class ProtocolError extends Error {
  readonly closeCode: number
  constructor(closeCode: number, message: string) {
    super(message)
    this.closeCode = closeCode
  }
}

export class AttachSession {
  readonly #webSocket: WebSocket
  readonly #process: ManagedProcess
  readonly #attachment: Attachment
  readonly #viewer: Viewer | undefined
  readonly #stdin: ProcessStdin
  readonly #windowBytes: number
  readonly #closed = new AbortController()
  /** Sent to, and acknowledged by, this client. */
  readonly #sent: Offsets
  readonly #acked: Offsets
  #stdinAt: number
  #wakeSenders: (() => void)[] = []

  constructor({ webSocket, process, since, attachment, viewer, screen = false }: AttachSessionOptions) {
    this.#webSocket = webSocket
    this.#process = process
    this.#attachment = attachment
    this.#viewer = viewer
    this.#stdin = viewer?.stdin ?? process.stdin
    this.#windowBytes = viewer === undefined ? ATTACH_WINDOW_BYTES : TERMINAL_WINDOW_BYTES
    this.#sent = { ...since }
    this.#acked = { ...since }
    this.#stdinAt = this.#stdin.accepted
    webSocket.on('message', (data, isBinary) => this.#receive(data, isBinary))
    webSocket.on('error', () => {}) // `ws` closes it with the fitting code; 'close' follows
    webSocket.on('close', () => this.#end())
    pingRegularly(webSocket)
    this.#run(screen).catch(() => webSocket.terminate())
  }

  /** Closes it; what still arrives from the client is ignored. */
  close(code: number, reason: string): void {
    this.#end()
    this.#webSocket.close(code, reason)
  }

  /** The terminal's size has changed. */
  tellSize(size: TerminalSize): void {
    this.#say({ type: 'size', ...size })
  }

  async #run(screen: boolean): Promise<void> {
    const stdin = this.#stdin
    this.#say({ type: 'started', process: { ...this.#process.info(), stdinAccepted: stdin.accepted } })
    const ackStdin = () => this.#say({ type: 'ack', stdin: stdin.written })
    const stopAcks = stdin.onWritten(ackStdin)
    this.#closed.signal.addEventListener('abort', stopAcks, { once: true })
    ackStdin()
    const { terminal } = this.#process
    if (terminal !== undefined) await this.#show(terminal, screen)
    else await Promise.all([this.#sendOutput('stdout'), this.#sendOutput('stderr')])
    if (this.#closed.signal.aborted) return
    const exit = await this.#process.finished
    const { stdout, stderr } = this.#process.journal
    this.#say({ type: 'exit', exit, stdout: stdout.end, stderr: stderr.end })
  }

  #show(terminal: Terminal, screen: boolean): Promise<void> {
    const client: TerminalClient = {
      signal: this.#closed.signal,
      hasRoom: () => this.#hasRoom('stdout'),
      room: () => this.#waitForWindow('stdout'),
      output: async (offset, bytes) => {
        this.#sent.stdout = offset + bytes.length
        await this.#send(CHANNEL.stdout, bytes)
      },
      screen: async ({ bytes, ...place }) => {
        this.#sent.stdout = place.offset
        this.#acked.stdout = Math.min(this.#acked.stdout, Math.max(0, place.offset - this.#windowBytes))
        this.#viewer?.reached(place.offset)
        this.#say({ type: 'screen', ...place })
        await this.#send(CHANNEL.screen, bytes)
      },
    }
    if (!screen) this.#viewer?.reached(this.#acked.stdout)
    return showTerminal(terminal, this.#process.journal.stdout, screen ? undefined : this.#sent.stdout, client)
  }

  async #sendOutput(channel: OutputChannel): Promise<void> {
    const { signal } = this.#closed
    for await (const piece of this.#process.journal[channel].read(this.#sent[channel], { follow: true, signal })) {
      if (piece.kind === 'gap') {
        this.#sent[channel] = piece.to
        this.#say({ type: 'gap', channel, from: piece.from, to: piece.to })
        continue
      }
      await this.#waitForWindow(channel)
      if (signal.aborted) return
      this.#sent[channel] = piece.offset + piece.bytes.length
      const flushed = this.#send(CHANNEL[channel], piece.bytes)
      if (this.#webSocket.bufferedAmount > SOCKET_QUEUE_BYTES) await flushed
    }
  }

  /** One piece may pass the window's end; it is smaller than the window by far. */
  async #waitForWindow(channel: OutputChannel): Promise<void> {
    while (!this.#hasRoom(channel) && !this.#closed.signal.aborted)
      await new Promise<void>((resolve) => this.#wakeSenders.push(resolve))
  }

  #hasRoom(channel: OutputChannel): boolean {
    return this.#sent[channel] - this.#acked[channel] < this.#windowBytes
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.#closed.signal.aborted) return
    try {
      if (!isBinary) throw new ProtocolError(MALFORMED, 'messages are binary')
      this.#handle(data as Buffer)
    } catch (error) {
      if (error instanceof ProtocolError) this.close(error.closeCode, error.message)
      else if (error instanceof RclaudeError) this.close(NOT_ALLOWED, error.message.slice(0, 120))
      else this.close(FAULT, 'the agent failed to handle a message')
    }
  }

  #handle(message: Buffer): void {
    const body = message.subarray(1)
    switch (message[0]) {
      case CHANNEL.stdin:
        this.#handleStdin(body)
        break
      case CHANNEL.control:
        this.#handleControl(parseControl(body))
        break
      case CHANNEL.close:
        if (body.length !== 1 || body[0] !== CHANNEL.stdin)
          throw new ProtocolError(MALFORMED, 'only the stdin channel can be closed')
        this.#stdin.end()
        break
      default:
        throw new ProtocolError(MALFORMED, `unknown channel ${message[0]}`)
    }
  }

  #handleStdin(bytes: Buffer): void {
    const stdin = this.#stdin
    if (this.#viewer?.mode === 'read') throw new ProtocolError(NOT_ALLOWED, 'this viewer only reads')
    if (stdin.pending + bytes.length > MAX_PENDING_STDIN)
      throw new ProtocolError(NOT_ALLOWED, 'more standard input than the window allows')
    stdin.write(this.#stdinAt, bytes)
    this.#stdinAt += bytes.length
  }

  #handleControl(control: ClientControl): void {
    switch (control.type) {
      case 'ack':
        this.#handleAck(control)
        break
      case 'signal':
        this.#handleSignal(control.signal)
        break
      case 'resize':
        this.#viewer?.resize({ columns: control.columns, rows: control.rows })
        break
      default:
        control satisfies never
    }
  }

  #handleAck(ack: Offsets): void {
    for (const channel of ['stdout', 'stderr'] as const) {
      if (ack[channel] < this.#acked[channel] || ack[channel] > this.#sent[channel])
        throw new ProtocolError(NOT_ALLOWED, `acknowledged ${ack[channel]} of ${channel}, sent ${this.#sent[channel]}`)
      this.#acked[channel] = ack[channel]
    }
    this.#attachment.consumed(this.#acked)
    this.#wake()
  }

  /** A signal for a process that ended is late, not wrong; one that does not exist is told. */
  #handleSignal(name: string): void {
    try {
      this.#process.signal(name)
    } catch (error) {
      if (!(error instanceof RclaudeError)) throw error
      this.#say({ type: 'error', code: error.code, message: error.message })
    }
  }

  #say(control: ServerControl): void {
    void this.#send(CHANNEL.control, Buffer.from(JSON.stringify(control)))
  }

  /** Resolves when the socket has taken it, or is gone. */
  #send(channel: number, bytes: Buffer): Promise<void> {
    const message = messages.take(bytes.length + 1)
    message[0] = channel
    message.set(bytes, 1)
    return new Promise((resolve) =>
      this.#webSocket.send(message, () => {
        messages.giveBack(message)
        resolve()
      }),
    )
  }

  #end(): void {
    this.#closed.abort()
    this.#attachment.detach()
    this.#wake()
  }

  #wake(): void {
    const waiting = this.#wakeSenders
    this.#wakeSenders = []
    for (const wake of waiting) wake()
  }
}

function parseControl(body: Buffer): ClientControl {
  let value: unknown
  try {
    value = JSON.parse(body.toString('utf8'))
  } catch {
    throw new ProtocolError(MALFORMED, 'a control message is not JSON')
  }
  const parsed = ClientControl.safeParse(value)
  if (!parsed.success) throw new ProtocolError(MALFORMED, 'a control message has an unknown shape')
  return parsed.data
}
