// The accepting end of resumable tunnels: which session a dial goes on with. Decided before the 101 is written, and at
// once, so that nothing lies between the count that the 101 states and the connection it is about.
//
//   const admission = sessions.admit(owner, ask)          // may throw: answer with an HTTP status
//   wss.handleUpgrade(...)                                 // with admission.headers in the 101
//   if (admission.isNew) createTunnel(admission.transport, ...)
//   admission.attach(webSocketCarrier(ws))
//
// A session belongs to the owner (who was authenticated) that began it. To another one its id means nothing: the answer
// is a new session, the same as for an id that never was.

import { TunnelError } from './errors.ts'
import { type ResumableOptions, ResumableTransport } from './resumable.ts'
import { answerHeaders, newSessionId, type ResumeAsk } from './resume-headers.ts'
import type { Carrier } from './transport.ts'

export interface Admission {
  readonly isNew: boolean
  readonly transport: ResumableTransport
  /** For the 101. */
  readonly headers: Record<string, string>
  attach(carrier: Carrier): void
}

interface AcceptedSession {
  readonly id: string
  readonly transport: ResumableTransport
  epoch: number
}

export class AcceptedSessions {
  readonly #options: ResumableOptions
  readonly #newId: () => string
  /** One per owner: who begins another one has given up the one before. */
  readonly #byOwner = new Map<string, AcceptedSession>()

  constructor(options: ResumableOptions & { newId?: () => string } = {}) {
    this.#options = options
    this.#newId = options.newId ?? newSessionId
  }

  get size(): number {
    return this.#byOwner.size
  }

  /**
   * Takes the session off its old connection, if it goes on. Throws TUNNEL_STALE_EPOCH when a later dial was here already,
   * also one for another session (what there is stays as it is), a protocol error when the position cannot be (the
   * session is over).
   */
  admit(owner: string, ask: ResumeAsk): Admission {
    const known = this.#byOwner.get(owner)
    if (known !== undefined && ask.epoch <= known.epoch) {
      const message = `dial ${ask.epoch} of this tunnel comes after dial ${known.epoch}`
      throw new TunnelError('TUNNEL_STALE_EPOCH', message)
    }
    return known !== undefined && known.id === ask.session ? this.#resume(known, ask) : this.#begin(owner, ask)
  }

  #resume(session: AcceptedSession, ask: ResumeAsk): Admission {
    const { transport } = session
    if (!transport.canResumeFrom(ask.received)) throw transport.refuse(ask.received)
    session.epoch = ask.epoch
    transport.detach('the other side has dialled again')
    return {
      isNew: false,
      transport,
      headers: answerHeaders({ session: session.id, received: transport.received }),
      attach: (carrier) => void transport.attach(carrier, ask.received),
    }
  }

  #begin(owner: string, ask: ResumeAsk): Admission {
    const transport = new ResumableTransport(this.#options)
    const session: AcceptedSession = { id: this.#newId(), transport, epoch: ask.epoch }
    transport.onEnd = () => {
      if (this.#byOwner.get(owner) === session) this.#byOwner.delete(owner)
    }
    return {
      isNew: true,
      transport,
      headers: answerHeaders({ session: session.id, received: 0 }),
      attach: (carrier) => {
        const older = this.#byOwner.get(owner)
        this.#byOwner.set(owner, session)
        older?.transport.destroy('the other side has begun another session')
        void transport.attach(carrier, 0)
      },
    }
  }
}
