/**
 * An HTTP proxy on loopback as companies have them: CONNECT (and plain requests in absolute form), a user and a password
 * if wanted. It resolves every name below `.test` to 127.0.0.1 by itself, as real ones resolve names that clients
 * can't: so whatever reaches `gateway.test` came through it.
 */
import { createServer, type IncomingMessage, request as plainRequest, type ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { onTestFinished } from 'vitest'
import type { Certificate } from './private-ca.ts'

export interface ConnectProxyOptions {
  user?: string
  password?: string
  /** Speaks TLS itself. */
  tls?: Certificate
  /** What it answers CONNECT with, instead of connecting. */
  status?: number
}

export interface Connect {
  target: string
  userAgent: string | undefined
  status: number
}

export interface ConnectProxy {
  /** With user and password, if there are any. */
  url: string
  port: number
  connects: Connect[]
  /** What it was asked for in either way: `host:port`, or a URL. */
  requests: string[]
  /** Ports from which it reached the other ends: who comes from another one did not come through it. */
  ports: Set<number>
  bytes: { up: number; down: number }
}

export async function startConnectProxy(options: ConnectProxyOptions = {}): Promise<ConnectProxy> {
  const connects: Connect[] = []
  const requests: string[] = []
  const ports = new Set<number>()
  const bytes = { up: 0, down: 0 }
  const open = new Set<Duplex>()
  const login = `Basic ${Buffer.from(`${options.user}:${options.password}`).toString('base64')}`
  const refusal = ({ headers }: IncomingMessage): number | undefined =>
    options.user !== undefined && headers['proxy-authorization'] !== login ? 407 : options.status

  function onConnect(request: IncomingMessage, client: Duplex, head: Buffer): void {
    hold(client)
    requests.push(request.url ?? '')
    const { hostname, port } = new URL(`http://${request.url}`)
    const status = refusal(request) ?? 200
    connects.push({ target: request.url ?? '', userAgent: request.headers['user-agent'], status })
    if (status !== 200) {
      const challenge = status === 407 ? 'Proxy-Authenticate: Basic realm="test"\r\n' : ''
      return void client.end(`HTTP/1.1 ${status} No\r\n${challenge}Content-Length: 0\r\nConnection: close\r\n\r\n`)
    }
    const server = connect(Number(port || 80), addressOf(hostname), () => {
      ports.add((server as Socket).localPort ?? 0)
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      server.write(head)
      client.pipe(server).pipe(client)
    })
    hold(server)
    client.on('data', (chunk: Buffer) => (bytes.up += chunk.length))
    server.on('data', (chunk: Buffer) => (bytes.down += chunk.length))
    client.on('close', () => server.destroy())
    server.on('close', () => client.destroy())
  }

  function onRequest(request: IncomingMessage, response: ServerResponse): void {
    requests.push(request.url ?? '')
    const status = refusal(request)
    if (status !== undefined) return void response.writeHead(status, { 'proxy-authenticate': 'Basic' }).end()
    const { hostname, port, pathname, search } = new URL(request.url ?? '')
    const { 'proxy-authorization': _, ...headers } = request.headers
    const onward = plainRequest(
      { host: addressOf(hostname), port, path: pathname + search, method: request.method, headers },
      (answer) => answer.pipe(response.writeHead(answer.statusCode ?? 502, answer.headers)),
    )
    onward.on('error', () => response.destroy())
    request.pipe(onward)
  }

  function hold(socket: Duplex): void {
    open.add(socket)
    socket.on('error', () => {}).on('close', () => open.delete(socket))
  }

  const server = options.tls === undefined ? createServer(onRequest) : createSecureServer(options.tls, onRequest)
  server.on('connect', onConnect)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    for (const socket of open) socket.destroy()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const { port } = server.address() as AddressInfo
  const user = options.user === undefined ? '' : `${options.user}:${encodeURIComponent(options.password ?? '')}@`
  return { url: `${options.tls ? 'https' : 'http'}://${user}127.0.0.1:${port}`, port, connects, requests, ports, bytes }
}

const addressOf = (hostname: string): string => (/\.test$|^127\./.test(hostname) ? '127.0.0.1' : hostname)
