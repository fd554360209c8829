/**
 * Open connections by token, so that revoking or outliving a token closes what it opened, and so does taking a task away
 * from whom it was shared with.
 */
import type { PreviewId, TaskId, TokenId } from '../../protocol/ids.ts'
import type { Principal } from '../auth/tokens.ts'

interface Closable {
  destroy(): unknown
  once(event: 'close', listener: () => void): unknown
}

interface Entry {
  connection: Closable
  user: string
  taskId: TaskId | undefined
  previewId: PreviewId | undefined
  expiresAtMs: number | undefined
  /** Opened with the value that the token had before its newest one. */
  isOldValue: boolean
}

/** Expired tokens are looked for this often. */
const EXPIRY_CHECK_MS = 2_000

export class Connections {
  readonly #open = new Map<TokenId, Set<Entry>>()
  readonly #timer: NodeJS.Timeout

  constructor() {
    this.#timer = setInterval(() => this.#closeExpired(), EXPIRY_CHECK_MS).unref()
  }

  /** @param taskId when it is about one task. @param previewId when it is of a browser in a preview */
  add(principal: Principal, connection: Closable, taskId?: TaskId, previewId?: PreviewId): void {
    const { user, expiresAtMs, isOldValue } = principal
    const entry = { connection, user, taskId, previewId, expiresAtMs, isOldValue }
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

  /** What this user has open of a task. */
  closeTask(taskId: TaskId, user: string): void {
    for (const entries of this.#open.values())
      for (const entry of entries) if (entry.taskId === taskId && entry.user === user) entry.connection.destroy()
  }

  closePreview(previewId: PreviewId): void {
    for (const entries of this.#open.values())
      for (const entry of entries) if (entry.previewId === previewId) entry.connection.destroy()
  }

  /** The token has a new value: what came with the one before may stay until then, what is older still goes. */
  rotated(tokenId: TokenId, oldUntilMs: number): void {
    for (const entry of this.#open.get(tokenId) ?? []) {
      entry.expiresAtMs = entry.isOldValue ? 0 : Math.min(entry.expiresAtMs ?? oldUntilMs, oldUntilMs)
      entry.isOldValue = true
    }
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
