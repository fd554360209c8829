/**
 * Connects to a port: of this machine's loopback, where a server may listen on either family, or of a host that the task
 * allows by name. Nothing else is reachable, so that a forward is never a way into the network around the task.
 */
import { connect, type Socket } from 'node:net'
import { isLoopback } from '../../host/loopback.ts'
import { RclaudeError } from '../../protocol/errors.ts'

/** For the other side to accept. */
const CONNECT_MS = 10_000

export interface Destination {
  port: number
  /** Undefined for the loopback. */
  host: string | undefined
}

/**
 * @param allowed hosts that the task allows besides its loopback
 * @throws RclaudeError `forbidden`, or `port_refused` that names the port
 */
export async function connectTo(
  { port, host }: Destination,
  allowed: readonly string[],
  signal?: AbortSignal,
): Promise<Socket> {
  const own = host === undefined || isLoopback(host)
  if (!own && !allowed.includes(host))
    throw new RclaudeError(
      'forbidden',
      `forwarding to ${host} is not allowed: a task reaches out for others only to the hosts it was made with (forwardHosts, rclaude run --forward-host)`,
    )
  const hosts = own ? ['127.0.0.1', '::1'] : [host]
  let failure: NodeJS.ErrnoException | undefined
  for (const one of hosts) {
    try {
      return await dial(one, port, signal)
    } catch (error) {
      // "Refused" tells more than what the other family says where it is not there at all.
      if (failure?.code !== 'ECONNREFUSED') failure = error as NodeJS.ErrnoException
    }
  }
  throw new RclaudeError('port_refused', refusal(port, own ? undefined : host, failure?.code), { cause: failure })
}

function refusal(port: number, host: string | undefined, code: string | undefined): string {
  const place = host === undefined ? `port ${port} of the task` : `port ${port} of ${host}`
  if (code === 'ECONNREFUSED') return `nothing listens on ${place}`
  return `${place} does not answer (${code ?? 'timeout'})`
}

function dial(host: string, port: number, signal: AbortSignal | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, allowHalfOpen: true })
    const timer = setTimeout(() => fail(Object.assign(new Error('timeout'), { code: 'ETIMEDOUT' })), CONNECT_MS)
    const onAbort = () => fail(new Error('given up'))
    const settle = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      socket.off('error', fail)
    }
    function fail(error: Error) {
      settle()
      socket.on('error', () => {})
      socket.destroy()
      reject(error)
    }
    socket.once('error', fail)
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted) onAbort()
    socket.once('connect', () => {
      settle()
      resolve(socket)
    })
  })
}
