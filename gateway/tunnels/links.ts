/** The agents that are connected now: one link each, found by task or by launch. */
import type { IncomingMessage } from 'node:http'
import { readAtMost } from '../../host/read-at-most.ts'
import { Problem, RclaudeError } from '../../protocol/errors.ts'
import type { LaunchId, TaskId } from '../../protocol/ids.ts'
import { TunnelError } from '../../tunnel/errors.ts'
import { requestOver } from '../../tunnel/http.ts'
import type { TunnelStream } from '../../tunnel/stream.ts'
import type { Tunnel } from '../../tunnel/tunnel.ts'

/** An agent must answer a small request within this time. */
const CALL_TIMEOUT_MS = 30_000
/** Whoever needs an agent that is not connected at the moment waits so long for it. */
const ATTACH_WAIT_MS = 10_000
/** Longest JSON answer of an agent. */
const MAX_ANSWER_BYTES = 1024 * 1024

/** What the agent said of itself when it dialled. */
export interface PeerInfo {
  version: string
  capabilities: string[]
}

export class AgentLink {
  readonly taskId: TaskId
  readonly launchId: LaunchId
  readonly tunnel: Tunnel
  readonly peer: PeerInfo
  readonly #closed = new AbortController()
  readonly #callTimeoutMs: number
  readonly #attachWaitMs: number

  constructor(
    taskId: TaskId,
    launchId: LaunchId,
    tunnel: Tunnel,
    peer: PeerInfo,
    options: { callTimeoutMs?: number; attachWaitMs?: number } = {},
  ) {
    this.#callTimeoutMs = options.callTimeoutMs ?? CALL_TIMEOUT_MS
    this.#attachWaitMs = options.attachWaitMs ?? ATTACH_WAIT_MS
    this.taskId = taskId
    this.launchId = launchId
    this.tunnel = tunnel
    this.peer = peer
    void tunnel.closed.then(() => this.#closed.abort())
  }

  /** Aborted when the tunnel is closed. */
  get signal(): AbortSignal {
    return this.#closed.signal
  }

  close(reason: string): void {
    this.#closed.abort()
    void this.tunnel.close(reason)
  }

  /** False while the agent's connection is lost, and may yet come back with all its streams. */
  get isAttached(): boolean {
    return this.tunnel.isAttached
  }

  /**
   * A fresh stream; waits for a connection that is lost at the moment.
   * @throws RclaudeError `agent_offline`, `limit`, or the signal's reason
   */
  async open(signal?: AbortSignal): Promise<TunnelStream> {
    if (!(await this.tunnel.whenAttached(this.#attachWaitMs, signal))) throw this.#offline()
    try {
      return this.tunnel.open()
    } catch (cause) {
      if (!(cause instanceof TunnelError)) throw cause
      if (cause.code === 'TUNNEL_TOO_MANY_STREAMS')
        throw new RclaudeError('limit', `task ${this.taskId} is asked for too much at once: ${cause.message}`, {
          cause,
          retryAfterSeconds: 1,
        })
      const message = `the agent of task ${this.taskId} takes no more requests: ${cause.message}`
      throw new RclaudeError('agent_offline', message, { cause, retryAfterSeconds: 1 })
    }
  }

  /**
   * A small JSON request. It may be repeated, so a connection that is lost meanwhile ends it at once: the agent may be dead,
   * and whoever asks knows better how long to wait for it.
   * @throws RclaudeError `agent_failed`, `agent_timeout`, or as open()
   */
  async call(
    method: 'GET' | 'POST',
    path: string,
    body?: unknown,
    timeoutMs: number = this.#callTimeoutMs,
  ): Promise<unknown> {
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
    const deadline = startDeadline(method, path, timeoutMs)
    let forget = () => {}
    try {
      const stream = await this.open(deadline.signal)
      const lost = new AbortController()
      forget = this.tunnel.onAttachment((isAttached) => isAttached || lost.abort(this.#offline()))
      const signal = AbortSignal.any([deadline.signal, lost.signal])
      const response = await this.#send(stream, method, path, payload, signal)
      const text = await readText(response)
      if ((response.statusCode ?? 500) >= 400) throw problemOf(response, text)
      return text === '' ? undefined : parseJson(text)
    } finally {
      forget()
      deadline.stop()
    }
  }

  #offline(): RclaudeError {
    const message = `the agent of task ${this.taskId} has lost its connection; try again soon`
    return new RclaudeError('agent_offline', message, { retryAfterSeconds: 5 })
  }

  /** A stream that the agent goes on writing; it breaks with the tunnel. */
  async stream(path: string): Promise<IncomingMessage> {
    const deadline = startDeadline('GET', path, this.#callTimeoutMs)
    try {
      const stream = await this.open(deadline.signal)
      const response = await this.#send(stream, 'GET', path, undefined, deadline.signal)
      if (response.statusCode !== 200) throw problemOf(response, await readText(response))
      return response
    } finally {
      deadline.stop()
    }
  }

  /** The signal cuts the exchange off until it is stopped: an agent that answers and then stalls holds nobody up. */
  #send(
    stream: TunnelStream,
    method: string,
    path: string,
    payload: Buffer | undefined,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const request = requestOver(stream, {
        method,
        path,
        headers: {
          host: 'agent',
          'content-length': payload?.length ?? 0,
          ...(payload && { 'content-type': 'application/json' }),
        },
      })
      let answer: IncomingMessage | undefined
      const onLate = () => {
        answer?.destroy(signal.reason)
        request.destroy()
        reject(signal.reason)
      }
      signal.addEventListener('abort', onLate, { once: true })
      request.once('response', (response) => {
        answer = response
        resolve(response)
      })
      request.once('upgrade', (_response, socket) => {
        socket.destroy()
        reject(new RclaudeError('agent_failed', `the agent answered ${method} ${path} with an upgrade`))
      })
      request.once('error', (cause) =>
        reject(new RclaudeError('agent_failed', `the connection to the agent broke: ${cause.message}`, { cause })),
      )
      request.end(payload)
    })
  }
}

/** Fires after `timeoutMs`, unless stopped before. */
function startDeadline(method: string, path: string, timeoutMs: number): { signal: AbortSignal; stop(): void } {
  const late = new AbortController()
  const message = `the agent did not answer ${method} ${path} within ${timeoutMs / 1000} s`
  const timer = setTimeout(() => late.abort(new RclaudeError('agent_timeout', message)), timeoutMs)
  return { signal: late.signal, stop: () => clearTimeout(timer) }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new RclaudeError('agent_failed', 'the agent sent an answer that is no JSON', { cause })
  }
}

const readText = (response: IncomingMessage): Promise<string> =>
  readAtMost(MAX_ANSWER_BYTES, response, () => new RclaudeError('agent_failed', 'the agent sent too long an answer'))

function problemOf(response: IncomingMessage, text: string): RclaudeError {
  let value: unknown
  try {
    value = parseJson(text)
  } catch {
    value = undefined
  }
  const problem = Problem.safeParse(value)
  const detail = problem.success ? problem.data.detail : `status ${response.statusCode}`
  return new RclaudeError('agent_failed', `the agent refused: ${detail}`)
}

export class AgentLinks {
  readonly #byTask = new Map<TaskId, AgentLink>()
  readonly #byLaunch = new Map<LaunchId, AgentLink>()
  readonly #awaited = new Map<TaskId, Set<(link: AgentLink) => void>>()

  ofTask(taskId: TaskId): AgentLink | undefined {
    return this.#byTask.get(taskId)
  }

  /** The task's link, or the one that comes within `ms`: after a restart of the gateway its agents are back in a moment. */
  whenLinked(taskId: TaskId, ms: number = ATTACH_WAIT_MS): Promise<AgentLink | undefined> {
    const link = this.ofTask(taskId)
    if (link !== undefined) return Promise.resolve(link)
    const waiting = this.#awaited.get(taskId) ?? new Set()
    this.#awaited.set(taskId, waiting)
    return new Promise((resolve) => {
      const settle = (found: AgentLink | undefined) => {
        clearTimeout(timer)
        waiting.delete(settle)
        if (waiting.size === 0) this.#awaited.delete(taskId)
        resolve(found)
      }
      const timer = setTimeout(() => settle(undefined), ms)
      timer.unref()
      waiting.add(settle)
    })
  }

  ofLaunch(launchId: LaunchId): AgentLink | undefined {
    return this.#byLaunch.get(launchId)
  }

  all(): AgentLink[] {
    return [...this.#byTask.values()]
  }

  /** A newer tunnel of the same task takes the older one's place: the agent has dialled again. */
  attach(link: AgentLink): void {
    const older = this.#byTask.get(link.taskId)
    if (older !== undefined) this.#byLaunch.delete(older.launchId)
    this.#byTask.set(link.taskId, link)
    this.#byLaunch.set(link.launchId, link)
    older?.close('the agent has dialled again')
    for (const settle of [...(this.#awaited.get(link.taskId) ?? [])]) settle(link)
  }

  /** @returns false when another link has taken its place */
  detach(link: AgentLink): boolean {
    if (this.#byTask.get(link.taskId) !== link) return false
    this.#byTask.delete(link.taskId)
    this.#byLaunch.delete(link.launchId)
    return true
  }
}
