import type { IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import { createAddressOf } from '../../../gateway/http/client-address.ts'
import { GatewayConfig } from '../../../protocol/config.ts'

const addressOf = (
  trustedProxies: string[],
  remoteAddress: string | undefined,
  headers: Record<string, string>,
  forwardedHeader: 'x-forwarded-for' | 'forwarded' = 'x-forwarded-for',
) =>
  createAddressOf({ trustedProxies, forwardedHeader })({
    socket: { remoteAddress },
    headers,
  } as unknown as IncomingMessage)

const PROXIES = ['10.0.0.0/8', '::1']
const xff = (value: string) => ({ 'x-forwarded-for': value })

describe('the word of a trusted proxy', () => {
  test.each([
    ['one proxy', '10.0.0.1', '192.0.2.7', '192.0.2.7'],
    ['two proxies, both trusted', '10.0.0.1', '192.0.2.7, 10.0.0.2', '192.0.2.7'],
    ['what the client claimed before it is not read', '10.0.0.1', '1.2.3.4, 192.0.2.7', '192.0.2.7'],
    ['nor a claim to come from a proxy', '10.0.0.1', '10.0.0.9, 192.0.2.7', '192.0.2.7'],
    ['with a port', '10.0.0.1', '192.0.2.7:4711', '192.0.2.7'],
    ['IPv6 with a port', '10.0.0.1', '[2001:db8::7]:4711', '2001:db8::7'],
    ['IPv6 as it is', '::1', '2001:db8::7', '2001:db8::7'],
    ['on a socket of both families', '::ffff:10.0.0.1', '192.0.2.7', '192.0.2.7'],
    ['everyone is trusted: the farthest', '10.0.0.1', '10.0.0.3, 10.0.0.2', '10.0.0.3'],
    ['nonsense: the last that is known', '10.0.0.1', '1.2.3.4, nonsense', '10.0.0.1'],
    ['nonsense before a proxy', '10.0.0.1', 'unknown, 10.0.0.2', '10.0.0.2'],
    ['nothing', '10.0.0.1', '', '10.0.0.1'],
  ])('%s', (_, peer, header, expected) => expect(addressOf(PROXIES, peer, xff(header))).toBe(expected))
})

test.each([
  ['nobody is trusted', [], '10.0.0.1'],
  ['it comes from somebody else', PROXIES, '192.0.2.9'],
  ['the socket is gone', PROXIES, undefined],
])('a header is not believed when %s', (_, trusted, peer) =>
  expect(addressOf(trusted, peer, { ...xff('1.2.3.4'), forwarded: 'for=1.2.3.4' })).toBe(peer ?? 'unknown'),
)

test('only the header that the proxies write is read', () => {
  const both = { ...xff('1.2.3.4'), forwarded: 'for=192.0.2.7' }
  expect(addressOf(PROXIES, '10.0.0.1', both)).toBe('1.2.3.4')
  expect(addressOf(PROXIES, '10.0.0.1', both, 'forwarded')).toBe('192.0.2.7')
  expect(addressOf(PROXIES, '10.0.0.1', { forwarded: 'for=1.2.3.4' })).toBe('10.0.0.1')
})

test.each([
  ['for=192.0.2.7;proto=https;by=10.0.0.1', '192.0.2.7'],
  ['for=1.2.3.4, For="[2001:db8::7]:4711"', '2001:db8::7'],
  ['for=192.0.2.7, by="a,b";for=10.0.0.2', '192.0.2.7'],
  ['for=unknown', '10.0.0.1'],
  ['proto=https', '10.0.0.1'],
  ['for="', '10.0.0.1'],
])('Forwarded: %s', (forwarded, expected) =>
  expect(addressOf(PROXIES, '10.0.0.1', { forwarded }, 'forwarded')).toBe(expected),
)

test.each(['10.0.0.0/33', 'proxy.example.org', '10.0.0', '', '::1/129'])('%j is no address of a proxy', (block) => {
  const parsed = GatewayConfig.safeParse({ listen: { trustedProxies: [block] } })
  expect(parsed.error?.issues[0]?.message).toMatch(/expected an address such as 10\.0\.0\.7, or a block/)
})
