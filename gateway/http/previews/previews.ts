/** Previews as a whole: which Hosts are theirs, who is let in by a ticket, and who is in already. */
import type { IncomingMessage } from 'node:http'
import type { GatewayConfig } from '../../../protocol/config.ts'
import { RclaudeError } from '../../../protocol/errors.ts'
import { portRoutes } from '../../../protocol/routes/ports.ts'
import type { Task } from '../../../protocol/task.ts'
import { authorizeSession } from '../../auth/authorize.ts'
import type { Principal } from '../../auth/tokens.ts'
import type { Vault } from '../../auth/vault.ts'
import type { Store } from '../../store/store.ts'
import { originOf, type PreviewPlace, placeOf, previewDomain } from './hosts.ts'
import { makeSession, openSession, sessionCookie } from './session.ts'
import { Tickets } from './tickets.ts'

/** On a preview's origin; everything else there is the dev server's. */
export const ENTER_PATH = '/.rclaude/enter'

export interface PreviewsOptions {
  config: Pick<GatewayConfig, 'listen' | 'publicUrl' | 'previews'>
  store: Store
  vault: Vault
  gatewayUrl(): string
}

export interface Entry {
  url: string
  origin: string
  ticketExpiresAtMs: number
  sessionExpiresAtMs: number
}

export interface Admitted {
  principal: Principal
  task: Task
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
  enter(place: PreviewPlace, secret: string): Admitted & { cookie: string; path: string } {
    const ticket = this.#tickets.use(secret, place)
    if (ticket === undefined)
      throw new RclaudeError(
        'unauthenticated',
        'this link was used already, or is too old: each lets one browser in, once',
      )
    const { store, vault, config } = this.#options
    const { principal, task } = authorizeSession(store, portRoutes.connectPort, ticket.tokenHash, place.taskId)
    const seconds = config.previews.session
    const value = makeSession(
      vault,
      place,
      { tokenId: principal.tokenId, tokenHash: ticket.tokenHash },
      Date.now() + seconds * 1000,
    )
    return { principal, task, cookie: sessionCookie(value, seconds, this.#isSecure), path: ticket.path }
  }

  /** Whose browser it is, as of now. Its `expiresAtMs` is the session's end. @throws RclaudeError */
  admit(place: PreviewPlace, request: IncomingMessage): Admitted {
    const { store, vault } = this.#options
    const session = openSession(vault, store, request.headers.cookie, place, this.#isSecure)
    if (session === undefined)
      throw new RclaudeError('unauthenticated', 'this browser was not let in to the preview, or its time is over')
    const { principal, task } = authorizeSession(store, portRoutes.connectPort, session.tokenHash, place.taskId)
    const expiresAtMs = Math.min(principal.expiresAtMs ?? Number.POSITIVE_INFINITY, session.expiresAtMs)
    return { principal: { ...principal, expiresAtMs }, task }
  }
}
