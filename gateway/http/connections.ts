/** Open connections by token, so that revoking or outliving a token closes what it opened. */
import type { TokenId } from '../../protocol/ids.ts'
import type { Principal } from '../auth/tokens.ts'

interface Closable {
  destroy(): unknown
  once(event: 'close', listener: () => void): unknown
}

interface Entry {
  connection: Closable
  expiresAtMs: number | undefined
}

/** Expired tokens are looked for this often. */
const EXPIRY_CHECK_MS = 2_000

export class Connections {
  readonly #open = new Map<TokenId, Set<Entry>>()
  readonly #timer: NodeJS.Timeout

  constructor() {
    this.#timer = setInterval(() => this.#closeExpired(), EXPIRY_CHECK_MS).unref()
  }

  add(principal: Principal, connection: Closable): void {
    const entry = { connection, expiresAtMs: principal.expiresAtMs }
    const entries = this.#open.get(principal.tokenId) ?? new Set()
    entries.add(entry)
    this.#open.set(principal.tokenId, entries)
    connection.once('close', () => {
      entries.delete(entry)
      if (entries.size === 0 && this.#open.get(principal.tokenId) === entries) this.#open.delete(principal.tokenId)
    })
  }

  closeAll(tokenId: TokenId, except?: Closable): void {
    for (const { connection } of this.#open.get(tokenId) ?? []) if (connection !== except) connection.destroy()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #closeExpired(): void {
    const now = Date.now()
    for (const entries of this.#open.values())
      for (const { connection, expiresAtMs } of entries)
        if (expiresAtMs !== undefined && expiresAtMs <= now) connection.destroy()
  }
}
