/**
 * The agent's hands: a second process of the same program that runs as the work's user, where the agent is root and the work
 * is another. It does what needs the rights of the work and not the agent's, so that the agent can do without the
 * capabilities that would let root do it.
 *
 * The two speak HTTP over one socket pair, each request on a stream of its own. The work has the same user and may kill, stop
 * or take over the second process: it holds no secret, is started anew when it ended or fell silent, and what it answers is
 * what the work says.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import type { ClientRequest, RequestOptions } from 'node:http'
import type { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { z } from 'zod'
import { within } from '../../host/within.ts'
import { Problem, RclaudeError } from '../../protocol/errors.ts'
import { Backoff } from '../../tunnel/backoff.ts'
import { duplexTransport } from '../../tunnel/duplex.ts'
import { requestOver } from '../../tunnel/http.ts'
import { createTunnel, type Tunnel } from '../../tunnel/tunnel.ts'
import type { Leftovers } from '../processes/leftovers.ts'
import { CALLS, type CallName, HANDS_WINDOW_BYTES } from './calls.ts'
import { responseTo, textOf } from './response.ts'

/** A process that says nothing for so long is stopped, or hangs, and is replaced. A request waits as long for the next one. */
const DEAD_AFTER_MS = 10_000
/** One that lived so long and ended is no reason to wait before the next. */
const LONG_LIFE_MS = 10_000
/** Of what must be done. */
const TRIES = 3
/** Of what one process says on its standard error, for the agent's log. */
const MAX_LOG_BYTES = 4_096

export interface HandsOptions {
  user: { uid: number; gid: number; name: string }
  /** The program, and what tells it to be the second process. */
  argv: readonly string[]
  env: Readonly<Record<string, string>>
  log(message: string): void
  /** Default 10 s. */
  deadAfterMs?: number
}

export class Hands {
  readonly user: HandsOptions['user']
  readonly #options: HandsOptions
  readonly #deadAfterMs: number
  readonly #backoff = new Backoff({ minMs: 20, firstCeilingMs: 100, maxMs: 5_000 })
  readonly #ending = new AbortController()
  readonly #running: Promise<void>
  #tunnel: Tunnel | undefined
  #child: ChildProcess | undefined
  #waiting: Array<() => void> = []

  constructor(options: HandsOptions) {
    this.user = options.user
    this.#options = options
    this.#deadAfterMs = options.deadAfterMs ?? DEAD_AFTER_MS
    this.#running = this.#run()
  }

  /** Of the process that runs now; undefined between two. */
  get pid(): number | undefined {
    return this.#child?.pid
  }

  /**
   * @returns what the second process answers, in the right shape; whether it is true is the work's affair
   * @throws RclaudeError `unavailable` when it does not answer in time, or what it answers with
   */
  async call<Name extends CallName>(
    name: Name,
    input: z.input<(typeof CALLS)[Name]['input']>,
  ): Promise<z.output<(typeof CALLS)[Name]['answer']>> {
    const { answer, timeoutMs, maxBytes } = CALLS[name]
    const body = JSON.stringify(input)
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const request = await this.request({
      method: 'POST',
      path: `/${name}`,
      headers,
      signal: AbortSignal.timeout(timeoutMs),
    })
    try {
      const response = responseTo(request)
      request.end(body)
      const value: unknown = JSON.parse(await textOf(await response, maxBytes))
      if ((await response).statusCode !== 200) throw RclaudeError.fromProblem(Problem.parse(value))
      return answer.parse(value) as z.output<(typeof CALLS)[Name]['answer']>
    } catch (error) {
      throw error instanceof RclaudeError ? error : this.unavailable(error)
    } finally {
      request.destroy()
    }
  }

  /** A request that waits for its body. @throws RclaudeError `unavailable` */
  async request(options: Pick<RequestOptions, 'method' | 'path' | 'headers' | 'signal'>): Promise<ClientRequest> {
    if (this.#tunnel === undefined) {
      const there = new Promise<void>((resolve) => this.#waiting.push(resolve))
      await within(this.#deadAfterMs, there, () => {})
    }
    try {
      if (this.#tunnel === undefined) throw this.unavailable()
      return requestOver(this.#tunnel.open(), { ...options, headers: { host: 'hands', ...options.headers } })
    } catch (error) {
      throw error instanceof RclaudeError ? error : this.unavailable(error)
    }
  }

  /** As `killLeftovers`, of what belongs to the work's user. Never throws: it is logged. */
  async killLeftovers(left: Leftovers): Promise<void> {
    await this.insist(() => this.call('leftovers', left)).catch((error: Error) =>
      this.#options.log(`what a process left running was not looked for: ${error.message}`),
    )
  }

  /** Asks the next process, and the one after it, when one is not there or ends meanwhile. @throws what the last try did */
  async insist<T>(action: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await action()
      } catch (error) {
        const mayHelp = error instanceof RclaudeError && error.code === 'unavailable' && !this.#ending.signal.aborted
        if (!mayHelp || tries === TRIES) throw error
      }
    }
  }

  unavailable(cause?: unknown): RclaudeError {
    const message = `the agent's second process, of user ${this.user.name}, does not answer and is started anew: try again`
    return new RclaudeError('unavailable', message, { cause, retryAfterSeconds: 1 })
  }

  async close(): Promise<void> {
    this.#ending.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending
    while (!signal.aborted) {
      const startedAt = performance.now()
      const end = await this.#live(signal)
      if (signal.aborted) break
      this.#options.log(`the second process, of user ${this.user.name}, ended (${end}) and is started anew`)
      if (performance.now() - startedAt > LONG_LIFE_MS) this.#backoff.reset()
      await pause(this.#backoff.next(), undefined, { signal }).catch(() => {})
    }
    this.#arrived()
  }

  /** One process, from its start to its end. @returns how it ended */
  async #live(signal: AbortSignal): Promise<string> {
    const child = this.#spawn()
    const ended = endOf(child)
    if (child.pid === undefined) return ended
    this.#child = child
    this.#relay(child)
    const tunnel = createTunnel(duplexTransport(child.stdout as Socket), {
      side: 'client',
      initialWindowBytes: HANDS_WINDOW_BYTES,
      pingAfterMs: this.#deadAfterMs / 4,
      deadAfterMs: this.#deadAfterMs,
      acceptTimeoutMs: this.#deadAfterMs,
    })
    tunnel.onStream((stream) => stream.destroy()) // it has nothing to ask
    const onEnding = () => void tunnel.close('the agent ends')
    signal.addEventListener('abort', onEnding)
    try {
      await tunnel.ping()
      this.#tunnel = tunnel
      this.#arrived()
    } catch {
      // `closed` tells why.
    }
    const { message } = await tunnel.closed
    this.#tunnel = undefined
    signal.removeEventListener('abort', onEnding)
    child.kill('SIGKILL')
    const end = await ended
    this.#child = undefined
    return `${end}; ${message}`
  }

  #arrived(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  #spawn(): ChildProcess {
    const [file = '', ...args] = this.#options.argv
    const { uid, gid } = this.user
    return spawn(file, args, {
      uid,
      gid, // and no further groups: Node drops them
      cwd: '/',
      env: this.#options.env,
      // A pipe of Node's is a socket pair, so what would be its output goes both ways.
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true, // signals to the agent's group are not for it
    })
  }

  /** A part of what it prints. The work can write there too, so nothing of it can be taken for the agent's own words. */
  #relay({ stderr }: ChildProcess): void {
    let left = MAX_LOG_BYTES
    stderr?.on('error', () => {})
    stderr?.on('data', (bytes: Buffer) => {
      const text = bytes.subarray(0, left).toString('utf8').trim()
      left = Math.max(0, left - bytes.length)
      if (text !== '') this.#options.log(`the second process says: ${JSON.stringify(text)}`)
    })
  }
}

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve(signal === null ? `exit code ${code}` : signal))
    child.once('error', (error) => {
      if (child.pid === undefined) resolve(error.message)
    })
  })
}
