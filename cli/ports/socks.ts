/**
 * SOCKS5 (RFC 1928) for local programs, CONNECT only and without authentication, as `ssh -D` has it: what it asks for
 * is a port of the task's loopback, or of a host that the task allows. Names are resolved in the task.
 */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { isLoopback } from '../../host/loopback.ts'
import type { Remote } from './carry.ts'

const VERSION = 5
const NO_AUTHENTICATION = 0
const NONE_ACCEPTABLE = 0xff
const CONNECT = 1
const ADDRESS = { v4: 1, name: 3, v6: 4 } as const

export const SOCKS_REPLY = {
  succeeded: 0,
  failed: 1,
  notAllowed: 2,
  refused: 5,
  noSuchCommand: 7,
  noSuchAddress: 8,
} as const

/** A client that has not said what it wants by then is gone. */
const GREETING_MS = 10_000
/** The longest request: four bytes, a length, a name of 255, a port. */
const MAX_REQUEST = 262

/** @returns what the client asks for; undefined when it was answered that this cannot be, or left */
export async function readSocksRequest(socket: Socket, signal: AbortSignal): Promise<Remote | undefined> {
  const leave = () => void socket.destroy()
  const timer = setTimeout(leave, GREETING_MS)
  signal.addEventListener('abort', leave, { once: true })
  const reader = new SocketReader(socket)
  try {
    return await negotiate(socket, reader)
  } catch {
    socket.destroy()
    return undefined
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', leave)
    reader.release()
  }
}

/** The address in it is nobody's: programs do not look at it. */
export function writeSocksReply(socket: Socket, code: number): void {
  const reply = Buffer.of(VERSION, code, 0, ADDRESS.v4, 0, 0, 0, 0, 0, 0)
  if (code === SOCKS_REPLY.succeeded) socket.write(reply)
  else socket.end(reply)
}

async function negotiate(socket: Socket, reader: SocketReader): Promise<Remote | undefined> {
  const [version, methodCount = 0] = await reader.take(2)
  if (version !== VERSION) throw new Error('not SOCKS 5')
  const methods = await reader.take(methodCount)
  if (!methods.includes(NO_AUTHENTICATION)) {
    socket.end(Buffer.of(VERSION, NONE_ACCEPTABLE))
    return undefined
  }
  socket.write(Buffer.of(VERSION, NO_AUTHENTICATION))
  const [, command, , kind] = await reader.take(4)
  const host = await readHost(reader, kind)
  if (host === undefined) return refuse(SOCKS_REPLY.noSuchAddress)
  const port = (await reader.take(2)).readUInt16BE()
  if (command !== CONNECT) return refuse(SOCKS_REPLY.noSuchCommand)
  if (port === 0) return refuse(SOCKS_REPLY.refused)
  return { port, ...(!isLoopback(host) && { host }) }

  function refuse(code: number): undefined {
    writeSocksReply(socket, code)
  }
}

async function readHost(reader: SocketReader, kind: number | undefined): Promise<string | undefined> {
  if (kind === ADDRESS.v4) return (await reader.take(4)).join('.')
  if (kind === ADDRESS.v6) {
    const bytes = await reader.take(16)
    const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(2 * at).toString(16))
    return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
  }
  if (kind !== ADDRESS.name) return undefined
  const [length = 0] = await reader.take(1)
  return (await reader.take(length)).toString('latin1').toLowerCase()
}

/** Exactly so many bytes at a time; what comes behind them stays in the socket. */
class SocketReader {
  readonly #socket: Socket
  #held = Buffer.alloc(0)

  constructor(socket: Socket) {
    this.#socket = socket
    socket.pause()
    socket.on('error', () => {})
  }

  async take(count: number): Promise<Buffer> {
    while (this.#held.length < count) {
      const chunk: Buffer | null = this.#socket.read()
      if (chunk !== null) this.#held = Buffer.concat([this.#held, chunk])
      else if (this.#socket.readableEnded || this.#socket.destroyed) throw new Error('the client left')
      else await Promise.race([once(this.#socket, 'readable'), once(this.#socket, 'end'), once(this.#socket, 'close')])
      if (this.#held.length > MAX_REQUEST + 65_536) throw new Error('too much before the answer')
    }
    const taken = this.#held.subarray(0, count)
    this.#held = this.#held.subarray(count)
    return taken
  }

  release(): void {
    this.#socket.removeAllListeners('readable')
    if (this.#held.length > 0 && !this.#socket.destroyed) this.#socket.unshift(this.#held)
  }
}
