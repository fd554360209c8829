/** The agent's way to the gateway, and what its log says of a proxy in it. */
import { expect, onTestFinished, test } from 'vitest'
import { stayDialled } from '../../agent/dial.ts'
import { wayTo } from '../../agent/way.ts'
import { type ConnectProxyOptions, startConnectProxy } from '../helpers/connect-proxy.ts'
import { eventually } from '../helpers/eventually.ts'

async function logOf(options: ConnectProxyOptions, login: string): Promise<{ log: string[]; targets(): string[] }> {
  const proxy = await startConnectProxy(options)
  const gatewayUrl = 'https://gateway.test:8443'
  const log: string[] = []
  const stop = new AbortController()
  const dialling = stayDialled({
    gatewayUrl,
    way: wayTo(gatewayUrl, { HTTPS_PROXY: `http://${login}127.0.0.1:${proxy.port}` }),
    taskId: 'task',
    launchId: 'launch',
    joinCode: 'code',
    onTunnel: () => {},
    onLost: () => {},
    log: (message) => log.push(message),
    signal: stop.signal,
    backoff: { minMs: 1, firstCeilingMs: 2, maxMs: 4 },
  })
  onTestFinished(async () => {
    stop.abort()
    await dialling
  })
  return { log, targets: () => proxy.connects.map(({ target }) => target) }
}

test.each([
  ['a wrong password', { user: 'ana', password: 'right' }, 'ana:not-it-9@', /does not accept the user and password in/],
  ['none', { user: 'ana', password: 'right' }, '', /wants a user and a password/],
  ['a refusal', { status: 403 }, '', /does not let us through to gateway\.test:8443 \(403\)/],
  [
    'a gateway that the proxy cannot reach',
    { status: 502 },
    '',
    /did not connect us to gateway\.test:8443: it answered 502/,
  ],
] as const)('%s of the proxy is logged, and dialled again: it may be mended', async (_, options, login, words) => {
  const { log, targets } = await logOf(options, login)
  await eventually('it is dialled again and again', () => targets().length > 3)
  expect(log[0]).toMatch(/^the gateway is dialled through the proxy http:\/\/127\.0\.0\.1:\d+ \(from HTTPS_PROXY\)$/)
  expect(log.join('\n')).toMatch(words)
  expect(log.join('\n')).not.toContain('not-it-9')
  expect(new Set(targets())).toEqual(new Set(['gateway.test:8443']))
})

test('loopback is dialled straight, and unmasked; what is no proxy is refused before anything is dialled', () => {
  const env = { HTTP_PROXY: 'http://proxy.test:1', HTTPS_PROXY: 'socks5://proxy.test:1' }
  expect(wayTo('http://127.0.0.1:7420', env)).toEqual({ isLoopback: true })
  expect(wayTo('http://127.example.test', {})).toEqual({ isLoopback: false })
  expect(() => wayTo('https://gateway.test', env)).toThrow(/HTTPS_PROXY names a socks5:\/\/ proxy/)
})
