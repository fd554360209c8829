// The seam below the session: a bidirectional, ordered, reliable pipe of bytes with back-pressure. Message boundaries
// mean nothing. Today's transports are a WebSocket (websocket.ts) and any Node Duplex (duplex.ts); one that survives the
// loss of a WebSocket fits in here without a change above.

export interface Transport {
  /** Starts delivery; called once. Nothing that arrived before is lost. */
  start(receiver: TransportReceiver): void
  /**
   * Queues bytes, which belong to the transport from then on. False means full: write no more until onDrain. Bytes
   * written all the same are still sent, so that a last go-away frame can always be said.
   */
  write(bytes: Buffer): boolean
  /** Sends what was written, then closes; resolves when closed, at the latest after CLOSE_TIMEOUT_MS. Idempotent. */
  close(reason: string): Promise<void>
  /** Closes at once, without sending what is queued. Idempotent. */
  destroy(reason: string): void
}

export interface TransportReceiver {
  onBytes(bytes: Buffer): void
  onDrain(): void
  /** Called once, whoever closed; nothing is delivered after it. */
  onClose(end: TransportEnd): void
}

/** How a transport ended: `clean` if the other side closed it on purpose, with the reason it gave. */
export interface TransportEnd {
  readonly clean: boolean
  readonly message: string
}

/** How long close() waits for queued bytes and for the peer's part of the closing. */
export const CLOSE_TIMEOUT_MS = 2_000
