// The seam below the session: a bidirectional, ordered, reliable pipe of bytes with back-pressure. Message boundaries
// mean nothing. The transports are a WebSocket (websocket.ts), any Node Duplex (duplex.ts), and resumable.ts, which goes
// on over another WebSocket when it loses one.

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
  /** Only on a transport that survives the loss of its connection. */
  readonly resumption?: Resumption
}

/** What a session asks a transport that can change its connection. */
export interface Resumption {
  /** Whether there is a connection now. Without one, what is written waits. */
  readonly isAttached: boolean
  /** Sent and not acknowledged. */
  readonly bytesInFlight: number
  /** How often a lost connection was replaced by another. */
  readonly resumes: number
  /** The present connection is of no use (silent, for one): drop it and wait for the next. */
  dropConnection(reason: string): void
}

export interface TransportReceiver {
  onBytes(bytes: Buffer): void
  onDrain(): void
  /** Called once, whoever closed; nothing is delivered after it. */
  onClose(end: TransportEnd): void
  /** Only called by a transport with `resumption`. */
  onAttach?(): void
  /** Only called by a transport with `resumption`. */
  onDetach?(reason: string): void
  /** Something came that is no payload: the other side lives. */
  onLife?(): void
}

/** How a transport ended: `clean` if the other side closed it on purpose, with the reason it gave. */
export interface TransportEnd {
  readonly clean: boolean
  readonly message: string
  /** The other side broke the rules of the transport. */
  readonly isProtocolError?: boolean
}

/** How long close() waits for queued bytes and for the peer's part of the closing. */
export const CLOSE_TIMEOUT_MS = 2_000

/** One connection that can carry a resumable transport for a while: a WebSocket, or what a test puts in its place. */
export interface Carrier {
  /** Starts delivery; called once. Nothing that arrived before is lost. */
  start(receiver: CarrierReceiver): void
  /** As Transport.write. */
  write(bytes: Buffer): boolean
  /** Sends a short message beside the payload, ahead of nothing and behind what was written before. */
  writeText(text: string): void
  /** What was written and is not with the operating system yet; at least that much. */
  readonly queuedBytes: number
  /** As Transport.close. */
  close(reason: string): Promise<void>
  /** Drops the connection at once. Nothing more of it is delivered, neither bytes nor its end. Idempotent. */
  detach(): void
}

export interface CarrierReceiver {
  onBytes(bytes: Buffer): void
  /** At most MAX_TEXT_BYTES long. */
  onText(text: string): void
  onDrain(): void
  onClose(end: TransportEnd): void
}

/** A longer text message is none of ours and ends the connection. */
export const MAX_TEXT_BYTES = 16
