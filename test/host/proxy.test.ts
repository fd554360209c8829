import { describe, expect, test } from 'vitest'
import {
  authorizationFor,
  gitProxyError,
  gitProxyUrl,
  isExempt,
  ProxyError,
  proxyFor,
  proxyPasswords,
  proxyVariables,
} from '../../host/proxy.ts'

const GATEWAY = 'https://rclaude.example.org'
const PROXY = 'http://proxy.example.org:3128'

describe('proxyFor', () => {
  test.each([
    ['https by HTTPS_PROXY', GATEWAY, { HTTPS_PROXY: PROXY }, 'HTTPS_PROXY'],
    ['the lower-case form comes first', GATEWAY, { HTTPS_PROXY: 'http://other:1', https_proxy: PROXY }, 'https_proxy'],
    ['an empty one counts as not set', GATEWAY, { HTTPS_PROXY: PROXY, https_proxy: '' }, 'HTTPS_PROXY'],
    ['wss as https', 'wss://rclaude.example.org/x', { HTTPS_PROXY: PROXY }, 'HTTPS_PROXY'],
    [
      'http by HTTP_PROXY',
      'http://rclaude.example.org',
      { HTTP_PROXY: PROXY, HTTPS_PROXY: 'http://x:1' },
      'HTTP_PROXY',
    ],
    ['ws as http', 'ws://rclaude.example.org', { http_proxy: PROXY }, 'http_proxy'],
    ['a name without http://', GATEWAY, { HTTPS_PROXY: 'proxy.example.org:3128' }, 'HTTPS_PROXY'],
  ])('%s', (_, target, env, variable) =>
    expect(proxyFor(target, env)).toMatchObject({ name: 'http://proxy.example.org:3128', variable }),
  )

  test.each([
    ['nothing is set', GATEWAY, {}],
    ['only the other scheme is', GATEWAY, { HTTP_PROXY: PROXY }],
    ['NO_PROXY names it', GATEWAY, { HTTPS_PROXY: PROXY, NO_PROXY: 'a, .example.org' }],
    ['the address is loopback', 'https://127.0.0.1:7420', { HTTPS_PROXY: PROXY }],
    ['the name is loopback', 'http://localhost:7420', { HTTP_PROXY: PROXY }],
    ['the address is loopback, and the variable nonsense', 'http://[::1]:7420', { HTTP_PROXY: '%%' }],
  ])('none when %s', (_, target, env) => expect(proxyFor(target, env)).toBeUndefined())

  test.each([
    'http://u:se#cret@h:1',
    'http://u:secret@',
    'socks5://u:secret@h:1',
    'http://h:1/secret',
    'http://a b:secret',
  ])('refuses %s and does not repeat it', (value) => {
    const judge = () => proxyFor(GATEWAY, { HTTPS_PROXY: value })
    expect(judge).toThrow(ProxyError)
    expect(judge).toThrow(/HTTPS_PROXY/)
    expect(judge).not.toThrow(/cret/)
  })

  test('user and password are decoded for the proxy and shown to nobody', () => {
    const proxy = proxyFor(GATEWAY, { HTTPS_PROXY: 'https://ana:p%40ss%3Aw%@proxy.example.org' })
    if (proxy === undefined) throw new Error('none')
    expect(authorizationFor(proxy)).toBe(`Basic ${Buffer.from('ana:p%40ss%3Aw%').toString('base64')}`)
    const good = proxyFor(GATEWAY, { HTTPS_PROXY: 'https://ana:p%40ss%3Aw@proxy.example.org' })
    expect(good && authorizationFor(good)).toBe(`Basic ${Buffer.from('ana:p@ss:w').toString('base64')}`)
    expect(proxy.name).toBe('https://proxy.example.org')
    expect(good && gitProxyUrl(good)).toBe('https://ana:p%40ss%3Aw@proxy.example.org:443') // curl would take 1080
  })
})

describe('isExempt', () => {
  test.each([
    ['*', 'any.example.org', 443],
    ['example.org', 'example.org', 443],
    ['example.org', 'a.example.org', 443],
    ['.example.org', 'a.b.example.org', 443],
    ['.example.org', 'example.org', 443],
    ['*.example.org', 'a.example.org', 443],
    ['Example.ORG', 'example.org', 443],
    ['example.org', 'example.org.', 443],
    ['a b\texample.org', 'example.org', 443],
    ['example.org:8443', 'example.org', 8443],
    ['10.1.2.3', '10.1.2.3', 443],
    ['10.0.0.0/8', '10.1.2.3', 443],
    ['10.0.0.0/8:443', '10.1.2.3', 443],
    ['fd00::/8', '[fd12::1]', 443],
    ['[fd12::1]:443', '[fd12::1]', 443],
    ['fd12:0::1', 'fd12::1', 443],
  ])('%s exempts %s:%d', (list, host, port) => expect(isExempt(list, host, port)).toBe(true))

  test.each([
    [undefined, 'example.org', 443],
    ['', 'example.org', 443],
    [',,', 'example.org', 443],
    ['ample.org', 'example.org', 443],
    ['a.example.org', 'example.org', 443],
    ['example.org:8443', 'example.org', 443],
    ['10.0.0.0/8', '11.1.2.3', 443],
    ['10.0.0.0/99', '10.1.2.3', 443],
    ['10.0.0.0/8', 'ten.example.org', 443],
    ['fd00::/8', '10.1.2.3', 443],
    ['.', 'example.org', 443],
  ])('%s does not exempt %s:%d', (list, host, port) => expect(isExempt(list, host, port)).toBe(false))
})

test('programs of the work get both forms, and keep loopback off the proxy', () => {
  expect(proxyVariables({ NO_PROXY: 'x' })).toEqual({})
  expect(proxyVariables({ HTTPS_PROXY: PROXY, no_proxy: 'a, b' })).toEqual({
    https_proxy: PROXY,
    HTTPS_PROXY: PROXY,
    no_proxy: 'a,b,localhost,127.0.0.1,::1',
    NO_PROXY: 'a,b,localhost,127.0.0.1,::1',
  })
  expect(proxyVariables({ http_proxy: PROXY, NO_PROXY: '*' }).no_proxy).toBe('*')
})

test('the passwords that are not to be shown are those of both proxies, in both ways of writing', () => {
  expect(proxyPasswords({ HTTPS_PROXY: 'http://u:p%40ss@h:1', http_proxy: 'u:plain@h:1' }).sort()).toEqual(
    ['p%40ss', 'p@ss', 'plain', btoa('u:p@ss'), btoa('u:plain')].sort(),
  )
  expect(proxyPasswords({ HTTPS_PROXY: PROXY, HTTP_PROXY: '::' })).toEqual([])
})

test.each([
  ['CONNECT tunnel failed, response 407', /wants a user and a password: set HTTPS_PROXY/],
  ['Received HTTP code 403 from proxy after CONNECT', /does not let us through to rclaude.example.org \(403\)/],
  ['CONNECT tunnel failed, response 502', /it answered 502/],
  ["Failed to connect to proxy.example.org port 3128: Couldn't connect", /cannot be reached: Failed to connect/],
  ['Could not resolve proxy: proxy.example.org', /cannot be reached: Could not resolve proxy/],
])('git says %s', (stderr, words) => {
  const message = `fatal: unable to access 'https://rclaude.example.org/': ${stderr}`
  expect(gitProxyError(GATEWAY, { HTTPS_PROXY: PROXY }, message)?.message).toMatch(words)
  expect(gitProxyError(GATEWAY, {}, message)).toBeUndefined()
})

test('of a variable that holds no proxy, what curl says with its password is not repeated', () => {
  const stderr = "fatal: unable to access '...': Unsupported proxy syntax in 'http://u:se#cret@h'"
  const error = gitProxyError(GATEWAY, { HTTPS_PROXY: 'http://u:se#cret@h' }, stderr)
  expect(error?.message).toMatch(/^HTTPS_PROXY holds no address/)
})
