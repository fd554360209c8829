/** Connections through proxies: whose certificate counts, and what becomes of one that misbehaves. */
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { request } from 'node:https'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { proxyFor } from '../../host/proxy.ts'
import { connectThrough, ProxyAgent } from '../../host/proxy-agent.ts'
import { startConnectProxy } from '../helpers/connect-proxy.ts'
import { hasOpenssl, makePrivateCa, terminateTls } from '../helpers/private-ca.ts'

function proxyAt(url: string) {
  const proxy = proxyFor('https://any.test', { HTTPS_PROXY: url })
  if (proxy === undefined) throw new Error('there must be a proxy')
  return proxy
}

/** A proxy of which only the behaviour on a new connection matters. */
async function oddProxy(behave: (socket: Socket) => void) {
  const open = new Set<Socket>()
  const server = createServer((socket) => {
    open.add(socket)
    socket.on('error', () => {})
    behave(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    for (const socket of open) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  return proxyAt(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
}

describe.skipIf(!hasOpenssl)('TLS inside the tunnel', () => {
  async function ask(host: string, isKnown = true): Promise<number | undefined> {
    const ca = makePrivateCa()
    const far = createHttpServer((_, response) => response.end())
    await new Promise<void>((resolve) => far.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void far.close())
    const { port } = await terminateTls(ca, () => `http://127.0.0.1:${(far.address() as AddressInfo).port}`)
    const url = `https://${host}:${port}/`
    const agent = new ProxyAgent(proxyAt((await startConnectProxy()).url), url)
    return new Promise((resolve, reject) => {
      const asked = request(url, { agent, ...(isKnown && { ca: readFileSync(ca.file) }) }, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
      asked.on('error', reject).end()
    })
  }

  test.each(['gateway.test', '127.0.0.1'])('the certificate is for %s: taken', async (host) =>
    expect(await ask(host)).toBe(200),
  )

  test.each(['other.test', '127.0.0.2'])('the certificate is not for %s: refused', (host) =>
    expect(ask(host)).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' }),
  )

  test('nobody known has signed it: refused', () =>
    expect(ask('gateway.test', false)).rejects.toMatchObject({
      code: expect.stringMatching(/ISSUER|VERIFY|SELF_SIGNED/),
    }))
})

test('bytes that come together with the answer to CONNECT are not lost', async () => {
  const proxy = await oddProxy((socket) => socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\n\r\nhello')))
  const socket = await connectThrough(proxy, 'far.test', 80)
  const first = await new Promise((resolve) => socket.once('data', (chunk: Buffer) => resolve(chunk.toString())))
  expect(first).toBe('hello')
  socket.destroy()
})

test.each<[string, (socket: Socket) => void, RegExp]>([
  ['says nothing', () => {}, /no answer to CONNECT far\.test:443 within 0\.2 s/],
  ['hangs up', (socket) => socket.once('data', () => socket.end()), /cannot be reached: ECONNRESET/],
  ['speaks no HTTP', (socket) => socket.write('220 mail.example.org ESMTP\r\n'), /cannot be reached: HPE_/],
  ['answers with a page', (socket) => socket.end('HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno'), /it answered 500/],
])('a proxy that %s is an error that names it, and its connection is closed', async (_, behave, words) => {
  let isClosed: Promise<unknown> = Promise.resolve()
  const proxy = await oddProxy((socket) => {
    isClosed = new Promise((resolve) => socket.resume().once('close', resolve))
    behave(socket)
  })
  await expect(connectThrough(proxy, 'far.test', 443, 200)).rejects.toThrow(words)
  await isClosed
})

test('an address of IPv6 goes into CONNECT in brackets', async () => {
  const { url, connects } = await startConnectProxy({ status: 502 })
  await expect(connectThrough(proxyAt(url), 'fd00::1', 443)).rejects.toThrow(/\[fd00::1\]:443/)
  expect(connects[0]?.target).toBe('[fd00::1]:443')
})
