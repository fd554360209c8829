/** Names of previews, and the headers between browser and dev server. */
import { expect, test } from 'vitest'
import { hashSecret } from '../../../gateway/auth/tokens.ts'
import { fromServer } from '../../../gateway/http/previews/headers.ts'
import { originOf, placeOf, previewDomain } from '../../../gateway/http/previews/hosts.ts'
import { openSession, sessionCookie } from '../../../gateway/http/previews/session.ts'
import { Tickets } from '../../../gateway/http/previews/tickets.ts'
import type { StoredPreview } from '../../../gateway/store/store.ts'
import { GatewayConfig, type GatewayConfigInput } from '../../../protocol/config.ts'
import { TaskId } from '../../../protocol/ids.ts'

const taskId = TaskId.parse('task_k3m9x2p7q4rt')
const domainOf = (config: GatewayConfigInput) => previewDomain(GatewayConfig.parse(config))

test('previews are at *.localhost on a loopback gateway, at a domain with https, and else off', () => {
  expect(domainOf({})).toBe('localhost')
  expect(domainOf({ publicUrl: 'http://localhost:7420' })).toBe('localhost')
  expect(domainOf({ listen: { host: '0.0.0.0' } })).toBeUndefined()
  expect(domainOf({ publicUrl: 'https://rclaude.example.org' })).toBeUndefined()
  const previews = { domain: 'preview.example.org' }
  expect(domainOf({ publicUrl: 'https://rclaude.example.org', previews })).toBe('preview.example.org')
  for (const config of [{ previews }, { previews, publicUrl: 'http://rclaude.example.org' }])
    expect(() => domainOf(config)).toThrow('whose cookies need https')
})

test('a place is its name and back, and nothing else is one', () => {
  const place = { taskId, port: 3000 }
  for (const [gateway, domain, origin] of [
    ['http://127.0.0.1:7420', 'localhost', 'http://3000--k3m9x2p7q4rt.localhost:7420'],
    ['https://rclaude.example.org', 'preview.example.org', 'https://3000--k3m9x2p7q4rt.preview.example.org'],
  ] as const) {
    expect(originOf(place, domain, gateway)).toBe(origin)
    expect(placeOf(new URL(origin).host, domain)).toEqual(place)
    expect(placeOf(new URL(origin).host.toUpperCase(), domain)).toEqual(place)
  }
  for (const host of [
    undefined,
    '',
    'localhost',
    '3000--k3m9x2p7q4rt.localhost.example.org',
    '3000--k3m9x2p7q4rt.xlocalhost',
    'x.3000--k3m9x2p7q4rt.localhost',
    '3000-k3m9x2p7q4rt.localhost',
    '3000--k3m9x2p7q4r.localhost',
    '65536--k3m9x2p7q4rt.localhost',
    '03000--k3m9x2p7q4rt.localhost',
    '3000--k3m9x2p7q4rt.localhost:80:80',
    '3000--k3m9x2p7q4rt.localhost.',
    '3000--k3m9x2p7q4rt.localhost/x',
  ])
    expect([host, placeOf(host, 'localhost')]).toEqual([host, undefined])
})

test('a redirect of the server to itself stays on the preview, any other is left as it is', () => {
  const at = (location: string) => fromServer({ location }, 3000).location
  expect(at('http://localhost:3000/a?b#c')).toBe('/a?b#c')
  expect(at('HTTP://127.0.0.1:3000')).toBe('/')
  expect(at('http://[::1]:3000?x')).toBe('/?x')
  expect(at('http://localhost:3000//example.org/x')).toBe('/example.org/x')
  for (const other of [
    '/x',
    '//example.org',
    'http://localhost:4000/x',
    'http://localhost:30001/',
    'https://example.org',
  ])
    expect(at(other)).toBe(other)
})

test('cookies of the server are of this host alone, and never look like ours', () => {
  const set = (...cookies: string[]) => fromServer({ 'set-cookie': cookies }, 3000)['set-cookie']
  expect(set('a=1; Path=/; DOMAIN = x.org; Secure', 'b; domain', 'c=Domain=x')).toEqual([
    'a=1; Path=/; Secure',
    'b',
    'c=Domain=x',
  ])
  for (const cookie of [
    '__Host-rclaude-preview=x',
    '= __host-Rclaude-Preview=x',
    ' __Host-rclaude-preview2=x',
    'RCLAUDE-preview=x',
    '=rclaude-preview=x',
  ])
    expect(set(cookie)).toBeUndefined()
})

test('a session is for its place, its time and its scheme, whoever else knows a secret', () => {
  const place = { taskId, port: 3000 }
  const session = { ...place, expiresAt: new Date(Date.now() + 60_000).toISOString() } as StoredPreview
  const over = { ...session, expiresAt: new Date(Date.now() - 1).toISOString() }
  const stored = new Map([
    [hashSecret('mine'), session],
    [hashSecret('over'), over],
  ])
  const store = { findPreview: (hash: string) => stored.get(hash) }
  const name = '__Host-rclaude-preview'
  const open = (cookies: string, at = place, isSecure = true) => openSession(store, cookies, at, isSecure)
  expect(open(`a=1; ${name}=mine; b=2`)).toBe(session)
  expect(open(`${name}=x; ${name}=mine`)).toBe(session)
  expect(open('rclaude-preview=mine', place, false)).toBe(session)
  expect(sessionCookie('v', 60.5, true)).toBe(`${name}=v; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60`)
  for (const cookies of ['', name, `${name}=`, 'rclaude-preview=mine', `x${name}=mine`, `${name}=min`, `${name}=over`])
    expect([cookies, open(cookies)]).toEqual([cookies, undefined])
  for (const at of [
    { taskId, port: 3001 },
    { taskId: TaskId.parse('task_222222222222'), port: 3000 },
  ])
    expect(open(`${name}=mine`, at)).toBeUndefined()
})

test('a ticket works once, for its own place, and not for ever', () => {
  const tickets = new Tickets()
  const ticket = { taskId, port: 3000, tokenHash: 'h', path: '/', expiresAtMs: Date.now() + 60_000 }
  const secret = tickets.make(ticket)
  expect(tickets.use('other', ticket)).toBeUndefined()
  expect(tickets.use(secret, ticket)).toEqual(ticket)
  expect(tickets.use(secret, ticket)).toBeUndefined()
  expect(tickets.use(tickets.make(ticket), { taskId, port: 3001 })).toBeUndefined()
  expect(tickets.use(tickets.make({ ...ticket, expiresAtMs: Date.now() - 1 }), ticket)).toBeUndefined()
})
