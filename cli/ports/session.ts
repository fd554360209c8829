/** A running `rclaude forward`: its listeners, the connections through them, and what is said about these. */
import type { Socket } from 'node:net'
import { RclaudeError } from '../../protocol/errors.ts'
import { neutralise } from '../neutralise.ts'
import type { Output } from '../output.ts'
import { carry, type Remote } from './carry.ts'
import type { Way } from './link.ts'
import { bracketed, type LocalListener, listenHere } from './listen.ts'
import { reverse } from './reverse.ts'
import { readSocksRequest, SOCKS_REPLY, writeSocksReply } from './socks.ts'
import type { ForwardSpec, ReverseSpec } from './spec.ts'

/** The same words are said again only after so long: a browser tries a closed port many times a second. */
const REPEAT_MS = 5_000

export interface ForwardSessionOptions {
  way: Way
  /** Local address of the listeners. */
  address: string
  out: Output
  taskId: string
}

export class ForwardSession {
  readonly #options: ForwardSessionOptions
  readonly #over = new AbortController()
  readonly #listeners: LocalListener[] = []
  readonly #open = new Set<Promise<unknown>>()
  readonly #saidAtMs = new Map<string, number>()
  #isLost = false

  constructor(options: ForwardSessionOptions) {
    this.#options = options
  }

  async forward({ local, remote, isSame }: ForwardSpec): Promise<void> {
    const { address } = this.#options
    const hint = isSame
      ? `name another, such as ${local + 1}:${local}, or 0:${local} for a free one`
      : 'name another, or 0 for a free one'
    const listener = await listenHere(address, local, hint, (socket) => this.#carry(socket, remote))
    this.#listeners.push(listener)
    const url = `http://${bracketed(address)}:${listener.port}`
    const place = remote.host === undefined ? `task port ${remote.port}` : `${bracketed(remote.host)}:${remote.port}`
    await this.#tell(`${url} -> ${place}`, { type: 'forward', address, port: listener.port, url, remote })
  }

  async socks(port: number): Promise<void> {
    const { address } = this.#options
    const listener = await listenHere(address, port, 'name another, or 0 for a free one', (socket) =>
      this.#track(this.#serveSocks(socket)),
    )
    this.#listeners.push(listener)
    const url = `socks5h://${bracketed(address)}:${listener.port}`
    await this.#tell(`${url} -> any port of the task`, { type: 'socks', address, port: listener.port, url })
  }

  /** Resolves when the task listens; later failures end up in `failed`. */
  reverse(spec: ReverseSpec, failed: (error: unknown) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      let isListening = false
      const running = reverse({
        way: this.#options.way,
        spec,
        address: '127.0.0.1',
        signal: this.#over.signal,
        onListening: (port) => {
          this.#isBack()
          const line = `task port ${port} -> 127.0.0.1:${spec.local}`
          if (!isListening)
            void this.#tell(line, { type: 'reverse', remote: { port }, port: spec.local }).then(resolve, reject)
          isListening = true
        },
        onLost: (error) => this.#onLost(error),
        onNote: (text) => this.#say(text),
      }).catch((error: unknown) => (isListening ? failed(error) : reject(error)))
      this.#track(running)
    })
  }

  /** Takes no more connections and resets those that are open. */
  async close(): Promise<void> {
    for (const listener of this.#listeners) listener.close()
    this.#over.abort()
    await Promise.allSettled(this.#open)
  }

  async #serveSocks(socket: Socket): Promise<void> {
    const remote = await readSocksRequest(socket, this.#over.signal)
    if (remote === undefined) return
    let isOpen = false
    // The answer stands before the first byte from there; a refusal is told in SOCKS words.
    const failure = await this.#run(
      socket,
      remote,
      () => {
        isOpen = true
        writeSocksReply(socket, SOCKS_REPLY.succeeded)
      },
      (error) => {
        if (!isOpen) writeSocksReply(socket, replyFor(error))
      },
    )
    if (failure !== undefined) this.#explain(failure)
  }

  #carry(socket: Socket, remote: Remote): void {
    this.#track(
      this.#run(socket, remote).then((failure) => {
        if (failure !== undefined) this.#explain(failure)
      }),
    )
  }

  #run(
    socket: Socket,
    remote: Remote,
    onOpen?: () => void,
    onRefused?: (error: Error) => void,
  ): Promise<Error | undefined> {
    return carry(socket, {
      way: this.#options.way,
      to: remote,
      signal: this.#over.signal,
      ...(onOpen && { onOpen }),
      onLinked: () => this.#isBack(),
      ...(onRefused && { onRefused }),
      onLost: (error) => this.#onLost(error),
    })
  }

  #track(work: Promise<unknown>): void {
    this.#open.add(work)
    void work.finally(() => this.#open.delete(work))
  }

  #explain(error: Error): void {
    this.#say(error.message)
  }

  #onLost(error: Error): void {
    if (error instanceof RclaudeError && error.code === 'limit') {
      this.#say(`${error.message}; the connection waits`)
      return
    }
    if (!this.#isLost)
      this.#say(`the way to the task is lost (${error.message}); connections wait and go on when it is back`)
    this.#isLost = true
  }

  #isBack(): void {
    if (this.#isLost) this.#say('the way to the task is back')
    this.#isLost = false
  }

  #say(text: string): void {
    const now = Date.now()
    if (now - (this.#saidAtMs.get(text) ?? Number.NEGATIVE_INFINITY) < REPEAT_MS) return
    if (this.#saidAtMs.size > 100) this.#saidAtMs.clear()
    this.#saidAtMs.set(text, now)
    this.#options.out.note(`rclaude: ${neutralise(text)}`)
  }

  async #tell(line: string, data: Record<string, unknown>): Promise<void> {
    const { out, taskId } = this.#options
    await (out.json ? out.data({ ...data, taskId }) : out.line(line))
  }
}

function replyFor(error: Error): number {
  if (!(error instanceof RclaudeError)) return SOCKS_REPLY.failed
  if (error.code === 'port_refused') return SOCKS_REPLY.refused
  return error.code === 'forbidden' ? SOCKS_REPLY.notAllowed : SOCKS_REPLY.failed
}
