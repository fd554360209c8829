// The dialling end of a tunnel that resumes: each call of connect() dials once. It goes on with the tunnel that lost its
// connection, or, when the other end does not know that one, ends it and begins another.
//
//   const dialler = new SessionDialler({ dial, tunnel: { side: 'client', ...OWN_PEER } })
//   const { tunnel, isNew, lost } = await dialler.connect(signal)
//
// An accepting end that answers without a session is an older one: its tunnels end with their connection.

import type { IncomingHttpHeaders } from 'node:http'
import { type ResumableOptions, ResumableTransport } from './resumable.ts'
import { askHeaders, parseAnswer, type ResumeAnswer } from './resume-headers.ts'
import type { Carrier, Transport } from './transport.ts'
import { createTunnel, type Tunnel, type TunnelOptions } from './tunnel.ts'

/** An upgrade that came about (connectWebSocket() makes them). One of the two is used, at once. */
export interface Dialled {
  readonly headers: IncomingHttpHeaders
  readonly transport: Transport
  readonly carrier: Carrier
}

export interface SessionDiallerOptions {
  /** Dials once, with these headers added. */
  readonly dial: (headers: Record<string, string>, signal: AbortSignal) => Promise<Dialled>
  readonly tunnel: TunnelOptions
  readonly resumable?: ResumableOptions
}

export interface Connection {
  readonly tunnel: Tunnel
  /** Whether the tunnel begins with this connection. */
  readonly isNew: boolean
  readonly headers: IncomingHttpHeaders
  /** Resolves with the reason when this connection is over; dial again then, whether or not the tunnel is. */
  readonly lost: Promise<string>
  /** Whether anything came over this connection, so that it was not in vain. */
  hasReceived(): boolean
}

interface Current {
  readonly id: string
  readonly transport: ResumableTransport
  readonly tunnel: Tunnel
}

export class SessionDialler {
  readonly #options: SessionDiallerOptions
  #current: Current | undefined
  #epoch = 0

  constructor(options: SessionDiallerOptions) {
    this.#options = options
  }

  /** The tunnel that connect() would go on with. */
  get tunnel(): Tunnel | undefined {
    return this.#live()?.tunnel
  }

  async connect(signal: AbortSignal): Promise<Connection> {
    const current = this.#live()
    current?.transport.detach('dialling again') // before its count is stated
    this.#epoch += 1
    const dialled = await this.#options.dial(
      askHeaders({ session: current?.id, epoch: this.#epoch, received: current?.transport.received ?? 0 }),
      signal,
    )
    const answer = answerOf(dialled)
    if (current !== undefined && answer?.session === current.id)
      return this.#attach(current, dialled, answer.received, false)
    current?.transport.destroy('the other side does not know this tunnel any more; it was restarted, or too late')
    if (answer === undefined) return this.#plain(dialled)
    const transport = new ResumableTransport(this.#options.resumable)
    const tunnel = createTunnel(transport, this.#options.tunnel)
    this.#current = { id: answer.session, transport, tunnel }
    return this.#attach(this.#current, dialled, answer.received, true)
  }

  #live(): Current | undefined {
    if (this.#current?.tunnel.isClosed === true) this.#current = undefined
    return this.#current
  }

  #attach({ transport, tunnel }: Current, { carrier, headers }: Dialled, position: number, isNew: boolean): Connection {
    const before = transport.received
    const lost = transport.attach(carrier, position)
    return { tunnel, isNew, headers, lost, hasReceived: () => transport.received > before }
  }

  #plain({ transport, headers }: Dialled): Connection {
    const tunnel = createTunnel(transport, this.#options.tunnel)
    const lost = tunnel.closed.then(({ message }) => message)
    return { tunnel, isNew: true, headers, lost, hasReceived: () => tunnel.bytesReceived > 0 }
  }
}

function answerOf(dialled: Dialled): ResumeAnswer | undefined {
  try {
    return parseAnswer(dialled.headers)
  } catch (error) {
    dialled.carrier.detach()
    throw error
  }
}
