// What can be set about a tunnel, and what it is otherwise.

import { type Clock, systemClock } from './clock.ts'
import { SPEC_INITIAL_WINDOW_BYTES } from './frame.ts'

export interface TunnelOptions {
  /** The dialling end is 'client' (odd stream ids), the other 'server' (even ones). */
  readonly side: 'client' | 'server'
  /** What `stream.remoteAddress` says on every stream, for logs. */
  readonly remoteAddress?: string
  /** Window of a fresh stream. Both ends must be given the same value; the default is the specification's 256 KiB. */
  readonly initialWindowBytes?: number
  /** A stream's receive window grows up to this when the way is long. Default 4 MiB. */
  readonly maxWindowBytes?: number
  /** What all receive windows of the tunnel may have grown by together. Default 16 MiB. */
  readonly windowBudgetBytes?: number
  /** Streams of the peer beyond this are refused with RST. Default 1,024. */
  readonly maxIncomingStreams?: number
  /** open() throws beyond this. Default 1,024. */
  readonly maxOutgoingStreams?: number
  /** A ping is sent after this much silence. Default 5 s; 0 turns keepalive off. */
  readonly pingAfterMs?: number
  /** The tunnel, or its present connection if it can have another, is dead after this much silence. Default 15 s. */
  readonly deadAfterMs?: number
  /** Deadline for the answer to ping(). Default 15 s. */
  readonly pingTimeoutMs?: number
  /** A stream that we open must be accepted within this time, not counting time without a connection. Default 60 s; 0: never. */
  readonly acceptTimeoutMs?: number
  /** The round trip is measured at least this often. Default 30 s; 0 leaves it to pings that are sent anyway. */
  readonly measureEveryMs?: number
  /** Default: the system's. */
  readonly clock?: Clock
  /** The first stream id that this side uses; for tests of id exhaustion. */
  readonly firstStreamId?: number
}

export type TunnelSettings = Required<Omit<TunnelOptions, 'remoteAddress'>> & { remoteAddress: string | undefined }

/** Options for a tunnel between our own gateway and agent: a small initial window, so that many idle streams are cheap. */
export const OWN_PEER = { initialWindowBytes: 64 * 1024 } as const

export function withDefaults(options: TunnelOptions): TunnelSettings {
  const initialWindowBytes = options.initialWindowBytes ?? SPEC_INITIAL_WINDOW_BYTES
  return {
    windowBudgetBytes: 16 * 1024 * 1024,
    maxIncomingStreams: 1_024,
    maxOutgoingStreams: 1_024,
    pingAfterMs: 5_000,
    deadAfterMs: 15_000,
    pingTimeoutMs: 15_000,
    acceptTimeoutMs: 60_000,
    measureEveryMs: 30_000,
    clock: systemClock,
    firstStreamId: options.side === 'client' ? 1 : 2,
    ...options,
    remoteAddress: options.remoteAddress,
    initialWindowBytes,
    maxWindowBytes: Math.max(initialWindowBytes, options.maxWindowBytes ?? 4 * 1024 * 1024),
  }
}
