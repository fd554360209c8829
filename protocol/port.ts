/**
 * Ports of a task, and the WebSocket that carries one connection to one of them (`rclaude.port.v1`). Both ends speak
 * alike: every message is binary and its first byte says what it is.
 *
 *     0    bytes of the connection
 *     3    JSON: `at` comes first on each WebSocket, and says how much has arrived before; `ack` what was passed on;
 *          `reset` that the connection broke
 *     255  the sender's half of the connection has ended
 *
 * Positions count bytes, and the end as one byte more. So whoever loses the WebSocket dials another one and goes on where
 * the other end is: the connection survives. port-pipe.ts is that rule in code.
 */
import { z } from 'zod'
import { ConnectionId } from './ids.ts'

export const PORT_PROTOCOL = 'rclaude.port.v1'
/** Of the WebSocket on which an agent tells of connections to a port that it listens on for a client. */
export const LISTEN_PROTOCOL = 'rclaude.listen.v1'

/** Between gateway and agent: the bare bytes of a connection, for previews. Clients' upgrades are WebSockets only. */
export const TCP_UPGRADE = 'rclaude-tcp'

export const PORT_MESSAGE = { data: 0, control: 3, end: 255 } as const

/** What one direction of a connection may have under way: sent, and not passed on by the other end. */
export const PORT_WINDOW_BYTES = 1024 * 1024
/** A connection without a WebSocket is kept this long; then it is reset. */
export const PORT_RESUME_MS = 60_000

export const PortNumber = z.coerce
  .number({ error: 'expected a port, 1 to 65535' })
  .int()
  .min(1, 'expected a port, 1 to 65535')
  .max(65_535, 'expected a port, 1 to 65535')

/** A host besides the task's own loopback. Lower case, so that comparing is enough. */
export const ForwardHost = z
  .string()
  .max(253)
  .regex(/^[a-z0-9._:-]+$/, 'expected the name or address of a host, in lower case')

const position = z.number().int().nonnegative()

export const PortControl = z.discriminatedUnion('type', [
  z.object({ type: z.literal('at'), bytes: position }),
  z.object({ type: z.literal('ack'), bytes: position }),
  z.object({ type: z.literal('reset') }),
])
export type PortControl = z.infer<typeof PortControl>

/** Text messages from an agent that listens. The client takes each connection up under its id. */
export const ListenMessage = z.discriminatedUnion('type', [
  z.object({ type: z.literal('listening'), port: PortNumber }),
  z.object({ type: z.literal('accepted'), connection: ConnectionId }),
])
export type ListenMessage = z.infer<typeof ListenMessage>

export const ListeningPort = z.object({
  port: PortNumber,
  /** Addresses it listens on, such as 127.0.0.1 or ::. */
  addresses: z.array(z.string()),
  /** Of the process that listens, where the agent may see it. */
  pid: z.number().int().optional(),
  command: z.string().optional(),
  /** A process of this task: false for another's on the same machine, absent where the agent cannot tell. */
  own: z.boolean().optional(),
})
export type ListeningPort = z.infer<typeof ListeningPort>

export const ListeningPorts = z.object({ ports: z.array(ListeningPort) })
