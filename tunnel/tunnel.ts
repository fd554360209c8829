// The public face of the tunnel: one object per connection, the same on both ends.
//
//   const tunnel = createTunnel(webSocketTransport(ws), { side: 'server', ...OWN_PEER })
//   tunnel.onStream((stream) => httpServer.emit('connection', stream))
//   const stream = tunnel.open()
//   console.log((await tunnel.closed).message)
//
// createTunnel starts reading at once; streams that the peer opens before onStream() was called wait for it.

import { SPEC_INITIAL_WINDOW_BYTES } from './frame.ts'
import { Session } from './session.ts'
import type { TunnelStream } from './stream.ts'
import type { Transport } from './transport.ts'

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
  /** Resets all streams, says go-away and closes the transport; resolves when that is closed. */
  close(reason: string): Promise<void>
  /** Resolves, never rejects, when the tunnel is over. */
  readonly closed: Promise<CloseReason>
  readonly isClosed: boolean
  /** Streams that exist now, opened by either side. */
  readonly streams: number
  readonly bytesReceived: number
  readonly bytesSent: number
}

export interface CloseReason {
  /**
   * local: close() was called; peer: the other side closed or said go-away with an error; protocol: the peer broke the
   * specification; internal: a handler of ours threw; silence: not a byte for deadAfterMs; transport: the connection broke.
   */
  readonly kind: 'local' | 'peer' | 'protocol' | 'internal' | 'silence' | 'transport'
  readonly message: string
}

export interface TunnelOptions {
  /** The dialling end is 'client' (odd stream ids), the other 'server' (even ones). */
  readonly side: 'client' | 'server'
  /** What `stream.remoteAddress` says on every stream, for logs. */
  readonly remoteAddress?: string
  /** Window of a fresh stream. Both ends must be given the same value; the default is the specification's 256 KiB. */
  readonly initialWindowBytes?: number
  /** A stream's receive window grows up to this with use. Default 256 KiB. */
  readonly maxWindowBytes?: number
  /** What all receive windows of the tunnel may have grown by together. Default 16 MiB. */
  readonly windowBudgetBytes?: number
  /** Streams of the peer beyond this are refused with RST. Default 1,024. */
  readonly maxIncomingStreams?: number
  /** open() throws beyond this. Default 1,024. */
  readonly maxOutgoingStreams?: number
  /** A ping is sent after this much silence. Default 5 s; 0 turns keepalive off. */
  readonly pingAfterMs?: number
  /** The tunnel is dead after this much silence. Default 15 s. */
  readonly deadAfterMs?: number
  /** Deadline for the answer to ping(). Default 15 s. */
  readonly pingTimeoutMs?: number
  /** The first stream id that this side uses; for tests of id exhaustion. */
  readonly firstStreamId?: number
}

export type TunnelSettings = Required<Omit<TunnelOptions, 'remoteAddress'>> & { remoteAddress: string | undefined }

/** Options for a tunnel between our own gateway and agent: a small initial window, so that many idle streams are cheap. */
export const OWN_PEER = { initialWindowBytes: 64 * 1024 } as const

export function createTunnel(transport: Transport, options: TunnelOptions): Tunnel {
  return new Session(transport, withDefaults(options))
}

function withDefaults(options: TunnelOptions): TunnelSettings {
  const initialWindowBytes = options.initialWindowBytes ?? SPEC_INITIAL_WINDOW_BYTES
  return {
    windowBudgetBytes: 16 * 1024 * 1024,
    maxIncomingStreams: 1_024,
    maxOutgoingStreams: 1_024,
    pingAfterMs: 5_000,
    deadAfterMs: 15_000,
    pingTimeoutMs: 15_000,
    firstStreamId: options.side === 'client' ? 1 : 2,
    ...options,
    remoteAddress: options.remoteAddress,
    initialWindowBytes,
    maxWindowBytes: Math.max(initialWindowBytes, options.maxWindowBytes ?? 256 * 1024),
  }
}
