// What the users of a tunnel see of it. tunnel.ts makes one.

import type { TunnelStream } from './stream.ts'

export interface Tunnel {
  /**
   * Opens a stream: a Duplex that behaves like a net.Socket. Throws a TunnelError when the tunnel is closed or going away,
   * or has maxOutgoingStreams already.
   */
  open(): TunnelStream
  /** Sets the one handler for streams that the peer opens. */
  onStream(handler: (stream: TunnelStream) => void): void
  /** Resolves with the round trip in ms; rejects with TUNNEL_PING_TIMEOUT or TUNNEL_CLOSED. */
  ping(): Promise<number>
  /** Says that no more streams are accepted; those that exist go on. */
  goAway(): void
  /** The peer has said that it accepts no more streams. */
  readonly isLeaving: boolean
  /** Resets all streams, says go-away and closes the transport; resolves when that is closed. */
  close(reason: string): Promise<void>
  /** Resolves, never rejects, when the tunnel is over. */
  readonly closed: Promise<CloseReason>
  readonly isClosed: boolean
  /** Streams that exist now, opened by either side. */
  readonly streams: number
  readonly bytesReceived: number
  readonly bytesSent: number
  /** False while the connection is lost and may yet be replaced, and when the tunnel is closed. */
  readonly isAttached: boolean
  /** Resolves with true as soon as there is a connection, with false when there is none after `ms` or the tunnel closed. */
  whenAttached(ms: number, signal?: AbortSignal): Promise<boolean>
  /** Tells of the loss (false) and the return (true) of the connection, not of the end. @returns what ends the watch */
  onAttachment(handler: (isAttached: boolean) => void): () => void
  /** For operators. */
  stats(): TunnelStats
}

export interface TunnelStats {
  /** Smoothed; undefined until a ping was answered. */
  readonly rttMs: number | undefined
  readonly bytesSent: number
  readonly bytesReceived: number
  /** Sent and not acknowledged; 0 on a tunnel that can't resume. */
  readonly bytesInFlight: number
  readonly streams: number
  /** Connections that took a lost one's place. */
  readonly resumes: number
  /** Streams that ended with a reset, by either side. */
  readonly resets: number
  readonly isAttached: boolean
}

export interface CloseReason {
  /**
   * local: close() was called; peer: the other side closed or said go-away with an error; protocol: the peer broke the
   * specification; internal: a handler of ours threw; silence: not a byte for deadAfterMs; transport: the connection broke.
   */
  readonly kind: 'local' | 'peer' | 'protocol' | 'internal' | 'silence' | 'transport'
  readonly message: string
}
