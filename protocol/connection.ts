/** The agent's connection to the gateway, as a task tells of it. */
import { z } from 'zod'

const count = z.number().int().nonnegative()

/** How a tunnel is doing. Bytes are those on the wire, framing included. */
export const TunnelHealth = z.object({
  /** False while its connection is lost and the agent may still take it up again. */
  isAttached: z.boolean(),
  /** Smoothed round trip, in ms; absent until it was measured. */
  rttMs: z.number().nonnegative().optional(),
  bytesSent: count,
  bytesReceived: count,
  /** Sent, and not acknowledged by the agent. */
  bytesInFlight: count,
  streams: count,
  /** How often a lost connection was taken up again. */
  resumes: count,
  /** Streams that either side reset. */
  resets: count,
})
export type TunnelHealth = z.infer<typeof TunnelHealth>

/** The agent's side of the tunnel: whether it is there, and what it said of itself when it dialled. */
export const Connection = z.object({
  online: z.boolean(),
  since: z.iso.datetime(),
  version: z.string(),
  capabilities: z.array(z.string()),
  /** As it is at the moment of the answer; absent while there is no tunnel. */
  tunnel: TunnelHealth.optional(),
})
