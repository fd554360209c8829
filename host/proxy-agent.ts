/**
 * An agent for `node:http`, `node:https` and `ws` whose connections lead through a proxy: CONNECT first, then TLS to the
 * other end inside it, so that the proxy sees neither request nor token of an https address. What the proxy itself
 * answers is a ProxyError and never looks like an answer of the other end, which is why this is no library's agent:
 * those hand a 403 of the proxy on as if the gateway had said it.
 */
import {
  Agent,
  type AgentOptions,
  type ClientRequestArgs,
  type IncomingMessage,
  request as plainRequest,
} from 'node:http'
import { request as secureRequest } from 'node:https'
import { isIP, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { authorizationFor, type HttpProxy, portOf, proxyRefusal, proxyUnreachable } from './proxy.ts'

/** For the proxy to answer CONNECT: it may have to look the name up and dial. */
const CONNECT_TIMEOUT_MS = 20_000

/** What node:http and node:https hand to createConnection. */
type Target = ClientRequestArgs & Pick<ConnectionOptions, 'servername' | 'ca' | 'cert' | 'key' | 'rejectUnauthorized'>

export class ProxyAgent extends Agent {
  readonly #proxy: HttpProxy
  readonly #isSecure: boolean

  /** @param url any address of the one host that it is for: what matters is whether it is secure */
  constructor(proxy: HttpProxy, url: string | URL, options?: AgentOptions) {
    super(options)
    this.#proxy = proxy
    this.#isSecure = /^(https|wss):$/.test(new URL(url).protocol)
    // node:https refuses an agent that calls itself anything else.
    Object.assign(this, this.#isSecure ? { protocol: 'https:', defaultPort: 443 } : { protocol: 'http:' })
  }

  override createConnection(target: Target, callback?: (error: Error | null, stream: Duplex) => void): undefined {
    const port = Number(target.port ?? (this.#isSecure ? 443 : 80))
    connectThrough(this.#proxy, target.host ?? target.hostname ?? 'localhost', port)
      .then((socket) => (this.#isSecure ? connectTls(inside(socket, target)) : socket))
      .then(
        (stream) => callback?.(null, stream),
        (error: Error) => callback?.(error, undefined as never),
      )
  }
}

/** A connection to `host` that the proxy made. @throws {ProxyError} */
export function connectThrough(
  proxy: HttpProxy,
  host: string,
  port: number,
  timeoutMs = CONNECT_TIMEOUT_MS,
): Promise<Socket> {
  const target = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`
  const authorization = authorizationFor(proxy)
  const isSecure = proxy.url.protocol === 'https:'
  const proxyHost = proxy.url.hostname.replace(/^\[(.*)\]$/, '$1')
  const request = (isSecure ? secureRequest : plainRequest)({
    method: 'CONNECT',
    host: proxyHost,
    port: portOf(proxy.url),
    path: target,
    headers: { host: target, ...(authorization !== undefined && { 'proxy-authorization': authorization }) },
    agent: false,
    ...(isSecure && { servername: isIP(proxyHost) === 0 ? proxyHost : '' }), // not the Host header's
  })
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => {
      clearTimeout(timer)
      request.destroy()
      reject(error)
    }
    const timer = setTimeout(
      () => fail(proxyUnreachable(proxy, `no answer to CONNECT ${target} within ${timeoutMs / 1000} s`)),
      timeoutMs,
    )
    request.once('connect', ({ statusCode = 0 }: IncomingMessage, socket: Socket, head: Buffer) => {
      if (statusCode < 200 || statusCode > 299) {
        socket.destroy()
        return fail(proxyRefusal(proxy, target, statusCode))
      }
      clearTimeout(timer)
      if (head.length > 0) socket.unshift(head)
      resolve(socket)
    })
    request.on('error', (cause: NodeJS.ErrnoException) => fail(proxyUnreachable(proxy, cause.code ?? cause.message)))
    request.end()
  })
}

/** Verified against the name of the other end, not the proxy's. */
function inside(socket: Socket, target: Target): ConnectionOptions {
  const { servername, ca, cert, key, rejectUnauthorized } = target
  return {
    socket,
    ALPNProtocols: ['http/1.1'],
    host: target.host ?? target.hostname ?? 'localhost', // what the certificate must be for, where there is no server name
    ...(servername !== undefined && { servername }),
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(rejectUnauthorized !== undefined && { rejectUnauthorized }),
  }
}
