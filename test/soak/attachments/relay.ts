/**
 * A TCP relay between the agent and the gateway that can break what it carries. It is the agent's only way: the gateway's
 * `agentUrl` names it. One connection lives at a time, save for what a redial leaves behind.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { eventually } from '../../helpers/eventually.ts'

type Side = 'agent' | 'gateway'

export interface Relay {
  port: number
  /** The newest connection, once the gateway has answered on it. */
  live(timeoutMs: number): Promise<Carried>
  /** The next connection is closed after so many bytes from the gateway. */
  breakNextAfter(bytes: number): void
  /** Connections that came so far. */
  readonly count: number
  close(): Promise<void>
}

export interface Carried {
  readonly isOver: boolean
  cut(how: 'close' | 'reset' | 'one-sided'): void
  /** Passes on so many bytes of the next chunk from `side`, then closes. Resolves when it has. */
  tear(side: Side, bytes: number): Promise<void>
  /** Nothing passes until `resume` or a cut. */
  silence(): void
  resume(): void
}

/** How long a torn connection waits for the chunk to tear; echoes and keep-alives come sooner. */
const TEAR_PATIENCE_MS = 1_000
/** What a one-sided cut leaves open at the gateway goes after this. */
const HALF_OPEN_MS = 20_000

export async function startRelay(gatewayPort: () => number): Promise<Relay> {
  const all = new Set<Connection>()
  let newest: Connection | undefined
  let count = 0
  let breakAfter: number | undefined
  const server = createServer({ noDelay: true }, (agent) => {
    count++
    const connection = new Connection(agent, connect({ host: '127.0.0.1', port: gatewayPort(), noDelay: true }))
    if (breakAfter !== undefined) connection.breakAfter(breakAfter)
    breakAfter = undefined
    newest = connection
    all.add(connection)
    agent.once('close', () => all.delete(connection))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    live: (timeoutMs) =>
      eventually('the agent is connected through the relay', () => (newest?.isLive ? newest : undefined), timeoutMs),
    breakNextAfter(bytes) {
      breakAfter = bytes
    },
    get count() {
      return count
    },
    async close() {
      for (const connection of all) connection.cut('close')
      server.close()
      await once(server, 'close')
    },
  }
}

class Connection implements Carried {
  readonly #sockets: Record<Side, Socket>
  #hasAnswered = false
  #isOver = false
  #tear: { side: Side; bytes: number; done: () => void } | undefined
  /** Bytes from the gateway until the end. */
  #left = Number.POSITIVE_INFINITY
  #isSilent = false

  constructor(agent: Socket, gateway: Socket) {
    this.#sockets = { agent, gateway }
    this.#carry('agent', agent, gateway)
    this.#carry('gateway', gateway, agent)
  }

  /** The gateway has answered, and nothing is broken. */
  get isLive(): boolean {
    return this.#hasAnswered && !this.#isOver
  }

  get isOver(): boolean {
    return this.#isOver
  }

  cut(how: 'close' | 'reset' | 'one-sided'): void {
    if (this.#isOver && how !== 'close') return
    this.#isOver = true
    const { agent, gateway } = this.#sockets
    if (how === 'reset') {
      agent.resetAndDestroy()
      gateway.resetAndDestroy()
      return
    }
    agent.destroy()
    if (how === 'close') gateway.destroy()
    else setTimeout(() => gateway.destroy(), HALF_OPEN_MS).unref()
  }

  tear(side: Side, bytes: number): Promise<void> {
    return new Promise((done) => {
      const give = () => {
        clearTimeout(timer)
        this.cut('close')
        done()
      }
      const timer = setTimeout(give, TEAR_PATIENCE_MS)
      this.#tear = { side, bytes, done: give }
    })
  }

  breakAfter(bytes: number): void {
    this.#left = bytes
  }

  silence(): void {
    this.#isSilent = true
    for (const socket of Object.values(this.#sockets)) socket.pause()
  }

  resume(): void {
    this.#isSilent = false
    for (const socket of Object.values(this.#sockets)) socket.resume()
  }

  #carry(side: Side, from: Socket, to: Socket): void {
    from.on('error', () => {})
    from.on('close', () => {
      if (!this.#isOver) this.cut('close')
    })
    from.on('end', () => {
      if (!this.#isOver) to.end()
    })
    from.on('data', (chunk) => {
      if (this.#isOver) return
      if (side === 'gateway') this.#hasAnswered = true
      if (this.#tear?.side === side) return this.#passPart(to, chunk.subarray(0, this.#tear.bytes), this.#tear.done)
      if (side === 'gateway' && chunk.length >= this.#left)
        return this.#passPart(to, chunk.subarray(0, this.#left), () => this.cut('close'))
      if (side === 'gateway') this.#left -= chunk.length
      if (to.write(chunk)) return
      from.pause()
      to.once('drain', () => {
        if (!this.#isSilent) from.resume()
      })
    })
  }

  /** The last that this connection passes on. */
  #passPart(to: Socket, bytes: Buffer, then: () => void): void {
    this.#isOver = true
    to.write(bytes, () => then())
  }
}
