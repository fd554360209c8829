/** TLS in front of the gateway, which speaks none itself, and the same one in front of the compared relays. */
import { type AddressInfo, connect } from 'node:net'
import { createServer } from 'node:tls'
import { serve } from './serve.ts'

export type TerminatorCalls = {
  /** @returns the port that speaks TLS */
  listen(request: { key: string; cert: string }): Promise<number>
  /** Where the plain bytes go from now on. */
  forwardTo(request: { port: number }): void
  /** After a garbage collection, where `--expose-gc` was given. */
  memory(request: undefined): { rss: number }
}

let upstreamPort = 0

const calls: TerminatorCalls = {
  listen({ key, cert }) {
    const server = createServer({ key, cert, noDelay: true }, (outer) => {
      const inner = connect({ port: upstreamPort, host: '127.0.0.1', noDelay: true })
      outer.pipe(inner).pipe(outer)
      for (const [one, other] of [
        [outer, inner],
        [inner, outer],
      ] as const)
        one.on('error', () => {}).once('close', () => other.destroy())
    })
    server.on('tlsClientError', () => {})
    return new Promise((resolve) =>
      server.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 }, () =>
        resolve((server.address() as AddressInfo).port),
      ),
    )
  },
  forwardTo({ port }) {
    upstreamPort = port
  },
  memory() {
    globalThis.gc?.()
    return { rss: process.memoryUsage.rss() }
  },
}

serve(calls)
