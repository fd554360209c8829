/** Bytes on a socket, for requests that no client library would send. */
import { connect, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

export interface RawConnection {
  socket: Socket
  /** All that came so far. */
  readonly received: string
  readonly isClosed: boolean
  send(text: string): void
  /** Resolves with what came once it matches, or rejects with what came instead. */
  until(pattern: RegExp, timeoutMs?: number): Promise<string>
  /** Resolves with everything once the other side has closed. */
  closed(timeoutMs?: number): Promise<string>
}

export async function rawConnection(url: string): Promise<RawConnection> {
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true })
  onTestFinished(() => void socket.destroy())
  let received = ''
  let isClosed = false
  const watchers = new Set<() => void>()
  const changed = () => {
    for (const look of watchers) look()
  }
  socket.setEncoding('latin1')
  socket.on('data', (text: string) => {
    received += text
    changed()
  })
  socket.on('error', () => {})
  for (const event of ['end', 'close'] as const)
    socket.on(event, () => {
      isClosed = true
      changed()
    })
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject))

  const waitFor = (what: string, isDone: () => boolean, timeoutMs: number): Promise<string> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => done(new Error(`not within ${timeoutMs} ms: ${what}; received: ${received}`)),
        timeoutMs,
      )
      const look = () => {
        if (isDone()) done()
      }
      function done(error?: Error) {
        clearTimeout(timer)
        watchers.delete(look)
        if (error) reject(error)
        else resolve(received)
      }
      watchers.add(look)
      look()
    })

  return {
    socket,
    get received() {
      return received
    },
    get isClosed() {
      return isClosed
    },
    send: (text) => void socket.write(text, 'latin1'),
    until: (pattern, timeoutMs = 10_000) => waitFor(String(pattern), () => pattern.test(received), timeoutMs),
    closed: (timeoutMs = 15_000) => waitFor('the connection is closed', () => isClosed, timeoutMs),
  }
}

/** One message on a connection of its own; everything that comes until the other side closes. */
export async function rawExchange(url: string, text: string, timeoutMs?: number): Promise<string> {
  const connection = await rawConnection(url)
  connection.send(text)
  const answer = await connection.closed(timeoutMs)
  connection.socket.destroy()
  return answer
}

/** A request's head: its line, the gateway's own Host, and `headers`. */
export const head = (url: string, line: string, ...headers: string[]): string =>
  `${[line, `Host: ${new URL(url).host}`, ...headers].join('\r\n')}\r\n\r\n`

export const WEBSOCKET_HEADERS = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Protocol: rclaude.process.v1',
] as const

/** Statuses of all answers in what was received. */
export const statuses = (received: string): number[] =>
  Array.from(received.matchAll(/HTTP\/1\.1 (\d{3}) /g), ([, status]) => Number(status))
