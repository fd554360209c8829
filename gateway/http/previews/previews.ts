/** Previews as a whole: which Hosts are theirs, who is let in by a ticket, and who is in already. */
import type { IncomingMessage } from 'node:http'
import type { GatewayConfig } from '../../../protocol/config.ts'
import { RclaudeError } from '../../../protocol/errors.ts'
import { newPreviewId, type PreviewId, type TaskId } from '../../../protocol/ids.ts'
import { portRoutes } from '../../../protocol/routes/ports.ts'
import type { Task } from '../../../protocol/task.ts'
import { authorizeSession } from '../../auth/authorize.ts'
import { hashSecret, newSecret, type Principal } from '../../auth/tokens.ts'
import type { Store, StoredPreview } from '../../store/store.ts'
import { originOf, type PreviewPlace, placeOf, previewDomain } from './hosts.ts'
import { openSession, sessionCookie } from './session.ts'
import { Tickets } from './tickets.ts'

/** On a preview's origin; everything else there is the dev server's. */
export const ENTER_PATH = '/.rclaude/enter'

export interface PreviewsOptions {
  config: Pick<GatewayConfig, 'listen' | 'publicUrl' | 'previews'>
  store: Store
  gatewayUrl(): string
}

export interface Entry {
  url: string
  origin: string
  ticketExpiresAtMs: number
  sessionExpiresAtMs: number
}

export interface Admitted {
  previewId: PreviewId
  principal: Principal
  task: Task
}

/** One of them, those of a port, or all of a task. */
export interface Which {
  id?: PreviewId | undefined
  port?: number | undefined
}

export class Previews {
  readonly #options: PreviewsOptions
  readonly #domain: string | undefined
  readonly #tickets = new Tickets()

  constructor(options: PreviewsOptions) {
    this.#options = options
    this.#domain = previewDomain(options.config)
  }

  get #isSecure(): boolean {
    return this.#options.gatewayUrl().startsWith('https:')
  }

  match(host: string | undefined): PreviewPlace | undefined {
    return this.#domain === undefined ? undefined : placeOf(host, this.#domain)
  }

  /** @throws RclaudeError `unsupported` when there are no previews here */
  ticket(place: PreviewPlace, principal: Principal, path: string): Entry {
    if (this.#domain === undefined)
      throw new RclaudeError(
        'unsupported',
        `this gateway has no previews (previews.domain is not set): rclaude forward ${place.taskId} ${place.port} works without`,
      )
    const { store, config, gatewayUrl } = this.#options
    const { ticket, session } = config.previews
    const token = store.getToken(principal.tokenId)
    const tokenHash = principal.isOldValue ? token?.previousHash : token?.hash
    if (tokenHash === undefined) throw new RclaudeError('unauthenticated', 'the token is gone')
    const origin = originOf(place, this.#domain, gatewayUrl())
    const ticketExpiresAtMs = Date.now() + ticket * 1000
    const secret = this.#tickets.make({ ...place, tokenHash, path, expiresAtMs: ticketExpiresAtMs })
    return {
      url: `${origin}${ENTER_PATH}?ticket=${secret}`,
      origin,
      ticketExpiresAtMs,
      sessionExpiresAtMs: Math.min(principal.expiresAtMs ?? Number.POSITIVE_INFINITY, Date.now() + session * 1000),
    }
  }

  /** @returns the cookie that lets in from now on, and where to go. @throws RclaudeError `unauthenticated` */
  enter(place: PreviewPlace, secret: string, address: string): Admitted & { cookie: string; path: string } {
    const ticket = this.#tickets.use(secret, place)
    if (ticket === undefined)
      throw new RclaudeError(
        'unauthenticated',
        'this link was used already, or is too old: each lets one browser in, once',
      )
    const { store, config } = this.#options
    const { principal, task } = authorizeSession(store, portRoutes.connectPort, ticket.tokenHash, place.taskId)
    const seconds = config.previews.session
    const cookieSecret = newSecret()
    const now = Date.now()
    const id = newPreviewId()
    store.insertPreview({
      ...place,
      id,
      secretHash: hashSecret(cookieSecret),
      user: principal.user,
      tokenHash: ticket.tokenHash,
      address,
      enteredAt: new Date(now).toISOString(),
      expiresAt: new Date(now + seconds * 1000).toISOString(),
    })
    const cookie = sessionCookie(cookieSecret, seconds, this.#isSecure)
    return { previewId: id, principal, task, cookie, path: ticket.path }
  }

  /** Whose browser it is, as of now. Its `expiresAtMs` is the session's end. @throws RclaudeError */
  admit(place: PreviewPlace, request: IncomingMessage): Admitted {
    const session = openSession(this.#options.store, request.headers.cookie, place, this.#isSecure)
    if (session === undefined)
      throw new RclaudeError('unauthenticated', 'this browser was not let in to the preview, or its time is over')
    return this.#admitted(session)
  }

  /** Who is in. */
  list(taskId: TaskId, { id, port }: Which = {}): StoredPreview[] {
    return this.#options.store
      .listPreviews(taskId)
      .filter((one) => (id ?? one.id) === one.id && (port ?? one.port) === one.port && this.#isStillIn(one))
  }

  /** They are not let in any more, nor is anybody by a link of theirs. What they have open is the caller's to close. */
  end(taskId: TaskId, which: Which): StoredPreview[] {
    const ended = this.list(taskId, which)
    for (const { id } of ended) this.#options.store.deletePreview(id)
    if (which.id === undefined) this.#tickets.drop(taskId, which.port)
    return ended
  }

  #admitted({ id, taskId, tokenHash, expiresAt }: StoredPreview): Admitted {
    const { principal, task } = authorizeSession(this.#options.store, portRoutes.connectPort, tokenHash, taskId)
    const expiresAtMs = Math.min(principal.expiresAtMs ?? Number.POSITIVE_INFINITY, Date.parse(expiresAt))
    return { previewId: id, principal: { ...principal, expiresAtMs }, task }
  }

  #isStillIn(session: StoredPreview): boolean {
    try {
      return (this.#admitted(session).principal.expiresAtMs ?? 0) > Date.now()
    } catch (error) {
      if (error instanceof RclaudeError) return false // its token, or its share, is gone
      throw error
    }
  }
}
