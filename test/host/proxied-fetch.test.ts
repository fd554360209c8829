import { getEventListeners } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, createServer as createNetServer } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { proxiedFetch } from '../../host/proxied-fetch.ts'
import { proxyFor } from '../../host/proxy.ts'
import { startConnectProxy } from '../helpers/connect-proxy.ts'
import { eventually } from '../helpers/eventually.ts'

async function through(listener: RequestListener) {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  const url = `http://far.test:${(server.address() as AddressInfo).port}`
  const way = await startConnectProxy()
  const proxy = proxyFor(url, { HTTP_PROXY: way.url })
  if (proxy === undefined) throw new Error('there must be a proxy')
  return { url, fetch: proxiedFetch(proxy, url), way }
}

test('method, headers and body arrive, and status, headers and body come back', async () => {
  const { url, fetch } = await through(async (request, response) => {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    const seen = { method: request.method, path: request.url, length: request.headers['content-length'] }
    response.writeHead(201, { 'x-seen': JSON.stringify(seen) }).end(Buffer.concat(chunks))
  })
  const response = await fetch(`${url}/a?b=c`, { method: 'PUT', headers: { 'content-type': 'x/y' }, body: 'grüße' })
  expect(response.status).toBe(201)
  expect(JSON.parse(response.headers.get('x-seen') ?? '')).toEqual({ method: 'PUT', path: '/a?b=c', length: '7' })
  expect(await response.text()).toBe('grüße')
  const streamed = await fetch(url, { method: 'POST', body: new Blob(['streamed']).stream(), duplex: 'half' })
  expect(await streamed.text()).toBe('streamed')
  expect(await (await fetch(url, { method: 'POST', body: Buffer.from('bytes') })).text()).toBe('bytes')
})

test('an answer without a body has none', async () => {
  const { url, fetch } = await through((_, response) => void response.writeHead(204).end())
  const response = await fetch(url, { method: 'DELETE' })
  expect([response.status, response.body]).toEqual([204, null])
})

test('a redirect is an error: it would carry the token elsewhere', async () => {
  const { url, fetch } = await through((_, response) => void response.writeHead(302, { location: '/x' }).end())
  await expect(fetch(url)).rejects.toThrow(/redirect/)
})

test('lines arrive as they are written, and leaving closes the connection', async () => {
  let isGone = false
  const { url, fetch } = await through((_, response) => {
    response.write('first\n')
    response.once('close', () => {
      isGone = true
    })
  })
  const leaving = new AbortController()
  const response = await fetch(url, { signal: leaving.signal })
  const reader = response.body?.getReader()
  expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe('first\n')
  const next = reader?.read()
  leaving.abort()
  await expect(next).rejects.toThrow()
  await eventually('the other end sees it', () => isGone)
})

test('leaving does not wait for a proxy that says nothing', async () => {
  const silent = createNetServer((socket) => void onTestFinished(() => void socket.destroy()))
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void silent.close())
  const url = 'http://far.test'
  const proxy = proxyFor(url, { HTTP_PROXY: `http://127.0.0.1:${(silent.address() as AddressInfo).port}` })
  if (proxy === undefined) throw new Error('there must be a proxy')
  const startedAt = performance.now()
  await expect(proxiedFetch(proxy, url)(url, { signal: AbortSignal.timeout(100) })).rejects.toThrow(/timeout/)
  expect(performance.now() - startedAt).toBeLessThan(5_000)
})

test('a signal that many calls share is let go of by each', async () => {
  const { url, fetch } = await through((_, response) => void response.end('ok'))
  const { signal } = new AbortController()
  for (let call = 0; call < 3; call++) await (await fetch(url, { signal })).text()
  await eventually('nobody listens', () => getEventListeners(signal, 'abort').length === 0)
  await expect(fetch(url, { signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow('before')
})

test('a connection that breaks in the middle is an error of the body, not its end', async () => {
  const { url, fetch } = await through((_, response) => {
    response.write('half of ')
    setTimeout(() => response.destroy(), 50)
  })
  await expect((await fetch(url)).text()).rejects.toThrow()
})
