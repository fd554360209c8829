/**
 * Attaches to a process: its output to our writables, our input to it, until it has exited and every byte is written.
 *
 * A lost connection is nothing to the user: we dial again with the offsets that our writables have taken, the agent goes
 * on from there, and says how much input it has accepted. To start a process we choose its id, so that a start whose
 * answer was lost is repeated without a second process.
 */
import type { Readable, Writable } from 'node:stream'
import { RclaudeError } from '../../protocol/errors.ts'
import { newProcessId, type ProcessId } from '../../protocol/ids.ts'
import {
  CHANNEL,
  type OutputChannel,
  type ProcessExit,
  type ProcessInfo,
  type ServerControl,
  TERMINAL_ACK_BYTES,
  type TerminalSize,
} from '../../protocol/process.ts'
import type { ConnectionEnd } from '../web-socket.ts'
import { Connection, type Target } from './connection.ts'
import { OutputSink } from './output.ts'
import type { AttachPoint, TerminalPoint } from './path.ts'
import { RETRY, Retries, type RetryPolicy } from './retry.ts'
import { StdinBuffer } from './stdin.ts'

/** An acknowledgement is sent when this much was consumed since the last. */
const ACK_BYTES = 256 * 1024
/** Signals that wait for a connection. */
const MAX_WAITING_SIGNALS = 16

type Exit = Extract<ServerControl, { type: 'exit' }>

export interface AttachOptions {
  /** The address for a connection that begins here; `attachPath` makes the path. A rejection ends it all. */
  connect(point: AttachPoint): Target | Promise<Target>
  /** An existing process; without it one is started, by what `connect` says. */
  processId?: ProcessId
  /** Output to begin with, for an existing process. */
  since?: { stdout: number; stderr: number }
  /** To look at a process's terminal, asked before each connection. `screen`: begin with what it shows. */
  terminal?: () => TerminalPoint
  stdin?: Readable
  stdout: Writable
  stderr: Writable
  /** Detaches; the process goes on. */
  signal?: AbortSignal
  onStarted?: (process: ProcessInfo) => void
  /** Before each new try. */
  onReconnect?: (lost: { error: Error; attempt: number; delayMs: number }) => void
  onGap?: (gap: { channel: OutputChannel; from: number; to: number }) => void
  /** The size of the process's terminal. */
  onSize?: (size: TerminalSize) => void
  /** What the agent could not do, such as a signal that does not exist there. */
  onError?: (error: { code: string; message: string }) => void
  retry?: Partial<RetryPolicy>
  /** 0 to 1, and milliseconds; for tests. */
  random?: () => number
  now?: () => number
}

export interface Attached {
  readonly processId: ProcessId
  /** Rejects with an RclaudeError, with the abort signal's reason, or with the error of our own stdout or stderr. */
  readonly exit: Promise<ProcessExit>
  /** Sends a signal such as `SIGINT` to the process's group; while there is no connection it waits for one. */
  signal(name: string): void
  /** Tells the size of our terminal. */
  resize(size: TerminalSize): void
}

/** Settles when the process has exited and every byte of its output is written. */
export function attach(options: AttachOptions): Promise<ProcessExit> {
  return startAttach(options).exit
}

export function startAttach(options: AttachOptions): Attached {
  const client = new AttachClient(options)
  return {
    processId: client.processId,
    exit: client.run(),
    signal: (name) => client.sendSignal(name),
    resize: (size) => client.sendSize(size),
  }
}

class AttachClient {
  readonly processId: ProcessId
  readonly #options: AttachOptions
  readonly #outputs: Record<OutputChannel, OutputSink>
  readonly #stdin: StdinBuffer | undefined
  readonly #retries: Retries
  readonly #waitingSignals: string[] = []
  readonly #ackBytes: number
  #screenAt = 0
  #connection: Connection | undefined
  #started: boolean
  #isAnnounced = false
  #acked = 0
  #exit: Exit | undefined

  constructor(options: AttachOptions) {
    this.#options = options
    this.processId = options.processId ?? newProcessId()
    this.#started = options.processId !== undefined
    const since = options.since ?? { stdout: 0, stderr: 0 }
    this.#outputs = {
      stdout: new OutputSink(options.stdout, since.stdout, () => this.#onTaken()),
      stderr: new OutputSink(options.stderr, since.stderr, () => this.#onTaken()),
    }
    this.#ackBytes = options.terminal === undefined ? ACK_BYTES : TERMINAL_ACK_BYTES
    this.#stdin = options.stdin && new StdinBuffer(options.stdin)
    this.#retries = new Retries({ ...RETRY, ...options.retry }, options.random ?? Math.random, options.now ?? Date.now)
  }

  async run(): Promise<ProcessExit> {
    const { signal } = this.#options
    const detach = () => this.#connection?.drop(new Error('detached'))
    signal?.addEventListener('abort', detach, { once: true })
    try {
      for (;;) {
        signal?.throwIfAborted()
        const end = await this.#connectOnce()
        signal?.throwIfAborted()
        if (this.#exit !== undefined) return await this.#finish(this.#exit.exit)
        this.#throwOutputFailure()
        if (end.kind === 'refused') throw end.error
        await this.#waitToRetry(end.error)
      }
    } finally {
      signal?.removeEventListener('abort', detach)
      detach()
      this.#stdin?.close()
      this.#outputs.stdout.close()
      this.#outputs.stderr.close()
    }
  }

  sendSignal(name: string): void {
    if (this.#isConnected() && this.#connection?.control({ type: 'signal', signal: name })) return
    if (this.#waitingSignals.length < MAX_WAITING_SIGNALS) this.#waitingSignals.push(name)
  }

  /** Lost without a connection: the next one begins with it. */
  sendSize(size: TerminalSize): void {
    if (this.#isConnected()) this.#connection?.control({ type: 'resize', ...size })
  }

  /** One connection, from dialling to its end or the process's. */
  async #connectOnce(): Promise<ConnectionEnd> {
    const { stdout, stderr } = this.#outputs
    const since = { stdout: stdout.taken, stderr: stderr.taken }
    const terminal = this.#options.terminal?.()
    const point = { processId: this.processId, started: this.#started, ...since, ...(terminal && { terminal }) }
    const target = await this.#options.connect(point)
    this.#options.signal?.throwIfAborted()
    stdout.restart(since.stdout)
    stderr.restart(since.stderr)
    this.#acked = since.stdout + since.stderr
    const connection = new Connection(target, {
      onOutput: (channel, bytes) => this.#outputs[channel].receive(bytes),
      onScreen: (bytes) => stdout.replace(bytes, this.#screenAt, () => this.#acknowledge()),
      onControl: (control) => this.#onControl(connection, control),
    })
    this.#connection = connection
    try {
      return await connection.ended
    } finally {
      this.#stdin?.disconnect()
    }
  }

  #onControl(connection: Connection, control: ServerControl): void {
    switch (control.type) {
      case 'started':
        this.#onStarted(connection, control.process)
        break
      case 'ack':
        this.#stdin?.acknowledge(control.stdin)
        break
      case 'gap':
        this.#onGap(control)
        break
      case 'exit':
        this.#onExit(connection, control)
        break
      case 'screen':
        this.#screenAt = control.offset
        this.#options.onSize?.(control)
        break
      case 'size':
        this.#options.onSize?.(control)
        break
      case 'error':
        this.#options.onError?.(control)
        break
      default:
        control satisfies never
    }
  }

  #onStarted(connection: Connection, process: ProcessInfo): void {
    this.#started = true
    this.#retries.reset()
    if (!this.#isAnnounced) this.#options.onStarted?.(process)
    this.#isAnnounced = true
    this.#stdin?.connect(
      {
        send: (bytes) => connection.send(CHANNEL.stdin, bytes),
        end: () => connection.send(CHANNEL.close, Uint8Array.of(CHANNEL.stdin)),
      },
      process.stdinAccepted,
    )
    for (const name of this.#waitingSignals.splice(0)) this.sendSignal(name)
  }

  #onGap({ channel, to }: { channel: OutputChannel; to: number }): void {
    const missed = this.#outputs[channel].skip(to)
    if (missed !== undefined) this.#options.onGap?.({ channel, ...missed })
  }

  /** The connection stays until our writables have taken everything, so that the agent knows it may forget it. */
  #onExit(connection: Connection, exit: Exit): void {
    const { stdout, stderr } = this.#outputs
    if (stdout.at !== exit.stdout || stderr.at !== exit.stderr)
      throw new Error(`exit after ${exit.stdout} + ${exit.stderr} bytes, of which ${stdout.at} + ${stderr.at} came`)
    this.#exit = exit
    void this.#drained().then(() => {
      this.#acknowledge()
      connection.close()
    })
  }

  async #finish(exit: ProcessExit): Promise<ProcessExit> {
    await this.#drained()
    this.#throwOutputFailure()
    return exit
  }

  async #drained(): Promise<void> {
    await Promise.all([this.#outputs.stdout.drained(), this.#outputs.stderr.drained()])
  }

  #onTaken(): void {
    const { stdout, stderr } = this.#outputs
    const failure = stdout.failure ?? stderr.failure
    if (failure !== undefined) this.#connection?.drop(failure)
    else if (stdout.taken + stderr.taken - this.#acked >= this.#ackBytes) this.#acknowledge()
  }

  #acknowledge(): void {
    const { stdout, stderr } = this.#outputs
    // What an earlier connection delivered may be taken while this one has not come as far yet.
    const reached = { stdout: Math.min(stdout.taken, stdout.at), stderr: Math.min(stderr.taken, stderr.at) }
    if (this.#connection?.control({ type: 'ack', ...reached })) this.#acked = reached.stdout + reached.stderr
  }

  #throwOutputFailure(): void {
    const failure = this.#outputs.stdout.failure ?? this.#outputs.stderr.failure
    if (failure !== undefined) throw failure
  }

  async #waitToRetry(error: Error): Promise<void> {
    const next = this.#retries.next()
    if (next === undefined)
      throw new RclaudeError(
        'unavailable',
        `no connection to process ${this.processId} for ${Math.round(this.#retries.policy.giveUpMs / 1_000)} s ` +
          `(${error.message}); it may still run, attach to it again later`,
        { cause: error },
      )
    this.#options.onReconnect?.({ error, ...next })
    await sleep(next.delayMs, this.#options.signal)
  }

  /** True between `started` and the connection's end. */
  #isConnected(): boolean {
    return this.#started && this.#retries.attempt === 0
  }
}

/** Resolves early when `signal` fires. */
function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal?.addEventListener('abort', done, { once: true })
  })
}
