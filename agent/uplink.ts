/**
 * The agent's way to the gateway: the tunnel of the moment, requests up it, and patience while there is none. What must
 * reach the gateway is tried again when the tunnel broke under it; all of it may safely be done twice.
 */
import { EventEmitter, once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { RclaudeError } from '../protocol/errors.ts'
import { requestOver } from '../tunnel/http.ts'
import type { Tunnel } from '../tunnel/tunnel.ts'
import { readRefusal } from './refusal.ts'

export class Uplink {
  readonly #changes = new EventEmitter()
  readonly #abandoned = new AbortController()
  #tunnel: Tunnel | undefined

  /** There is a tunnel. Its connection may be lost at the moment: what is begun on it then waits for the next. */
  get isOnline(): boolean {
    return this.#tunnel?.isClosed === false
  }

  /** The gateway hears us now. */
  get isAttached(): boolean {
    return this.#tunnel?.isAttached === true
  }

  /** What is begun now may be heard, now or when the connection is back. A gateway that is about to end hears nothing new. */
  get #takesRequests(): boolean {
    return this.isOnline && this.#tunnel?.isLeaving === false
  }

  use(tunnel: Tunnel): void {
    this.#tunnel = tunnel
    this.#changes.emit('online')
  }

  /** There will be no gateway any more: nobody waits for it any longer. */
  abandon(): void {
    this.#abandoned.abort()
    if (!this.isAttached) void this.#tunnel?.close('the agent waits for its gateway no longer')
  }

  /** Does it, and again on the next tunnel when this one broke, or was about to end, meanwhile. Waits for one no longer when `signal` fires. */
  async insist<T>(action: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const abandoned = this.#abandoned.signal
    const given = signal === undefined ? abandoned : AbortSignal.any([abandoned, signal])
    for (;;) {
      if (!this.#takesRequests) await once(this.#changes, 'online', { signal: given })
      const tunnel = this.#tunnel
      try {
        return await action()
      } catch (error) {
        if (tunnel === this.#tunnel && this.#takesRequests) throw error
      }
    }
  }

  /** Sends a request of a local client up the tunnel, and the answer back. */
  forward(request: IncomingMessage, response: ServerResponse): void {
    const fail = (error: unknown) => {
      if (response.headersSent) return void response.destroy()
      response
        .writeHead(503, { 'content-type': 'text/plain' })
        .end(error instanceof Error ? error.message : String(error))
    }
    try {
      const upstream = requestOver(this.#open(), {
        method: request.method ?? 'GET',
        path: request.url ?? '/',
        headers: { ...request.headers, host: 'gateway' },
      })
      upstream.once('error', fail)
      upstream.once('response', (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers)
        pipeline(answer, response).catch(() => response.destroy())
      })
      response.once('close', () => upstream.destroy())
      pipeline(request, upstream).catch(() => upstream.destroy())
    } catch (error) {
      fail(error)
    }
  }

  putArtifact(name: string, size: number, content: AsyncIterable<Buffer>): Promise<void> {
    return new Promise((resolve, reject) => {
      const upstream = requestOver(this.#open(), {
        method: 'PUT',
        path: `/artifacts/${encodeURIComponent(name)}`,
        headers: { host: 'gateway', 'content-length': size, 'content-type': 'application/octet-stream' },
      })
      let isAnswered = false
      // A refusal comes before everything was sent, which then cannot be: the refusal is what counts.
      const onBroken = (error: Error) => {
        if (!isAnswered) reject(error)
      }
      upstream.on('error', onBroken)
      upstream.once('response', (answer) => {
        isAnswered = true
        if (answer.statusCode === 204) answer.resume().once('end', resolve).once('error', reject)
        else readRefusal(answer).then((why) => reject(new RclaudeError('agent_failed', why)), reject)
      })
      pipeline(content, upstream).catch(onBroken)
    })
  }

  #open() {
    if (this.#tunnel === undefined || this.#tunnel.isClosed)
      throw new RclaudeError('unavailable', 'the gateway is not connected')
    return this.#tunnel.open()
  }
}
