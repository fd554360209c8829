/** Listens here, and hands on each connection with both its halves. */
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { RclaudeError } from '../../protocol/errors.ts'

export interface LocalListener {
  address: string
  port: number
  close(): void
}

/** @throws {RclaudeError} `conflict` when the port is taken, with what to do */
export async function listenHere(
  address: string,
  port: number,
  hint: string,
  onConnection: (socket: Socket) => void,
): Promise<LocalListener> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, onConnection)
  await bound(server, address, port, hint)
  server.on('error', () => {}) // too many open files: that connection is lost, the listener is not
  return { address, port: (server.address() as AddressInfo).port, close: () => void server.close() }
}

function bound(server: Server, address: string, port: number, hint: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(new RclaudeError(error.code === 'EADDRINUSE' ? 'conflict' : 'invalid', wordsFor(error), { cause: error })),
    )
    server.listen(port, address, () => {
      server.removeAllListeners('error')
      resolve()
    })
  })

  function wordsFor(error: NodeJS.ErrnoException): string {
    if (error.code === 'EADDRINUSE') return `port ${port} on ${address} is taken here: ${hint}`
    if (error.code === 'EACCES') return `port ${port} needs more rights on this machine: ${hint}`
    return `cannot listen on ${address}:${port} (${error.code ?? error.message})`
  }
}

/** For URLs and `host:port`. */
export const bracketed = (address: string): string => (address.includes(':') ? `[${address}]` : address)
