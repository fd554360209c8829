/** Where the gateway listens, and how it stops doing so. */
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { readIfThere, writeOwnerOnly } from '../host/files.ts'
import type { GatewayConfig } from '../protocol/config.ts'
import { RclaudeError } from '../protocol/errors.ts'

/** Clients that are reading get this long to finish when the gateway stops. */
const DRAIN_MS = 3_000

/**
 * With port 0, takes the port of the last time again when it is free: agents that outlived a killed gateway dial the
 * address that they were given.
 */
export async function listen(
  server: Server,
  { listen: { host, port } }: GatewayConfig,
  portFile: string,
): Promise<void> {
  const wanted = port === 0 ? Number(readIfThere(portFile) ?? 0) : port
  try {
    await bind(server, host, wanted)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    if (port !== 0)
      throw new RclaudeError('conflict', `port ${port} on ${host} is taken: set listen.port, or 0 for a free one`)
    await bind(server, host, 0)
  }
  writeOwnerOnly(portFile, String((server.address() as AddressInfo).port))
}

function bind(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

/** Under which clients reach it. */
export function urlOf(server: Server, config: GatewayConfig): string {
  if (config.publicUrl !== undefined) return config.publicUrl.replace(/\/$/, '')
  const { address, family, port } = server.address() as AddressInfo
  return `${config.listen.tls === undefined ? 'http' : 'https'}://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

/** Ends all connections, those in use after a while. */
export async function drain(server: Server): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve))
  server.closeIdleConnections()
  const timer = setTimeout(() => server.closeAllConnections(), DRAIN_MS)
  await closed
  clearTimeout(timer)
}
