/** How git is told to reach the gateway, and what becomes of its words about a proxy. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { fetchTask } from '../../../cli/workspace/fetch.ts'
import { locate } from '../../../cli/workspace/place.ts'
import { remoteConfig } from '../../../cli/workspace/remote.ts'
import { openScratch } from '../../../cli/workspace/scratch.ts'
import { startConnectProxy } from '../../helpers/connect-proxy.ts'
import { temporaryDirectory } from '../../helpers/temporary.ts'

const remote = (env: Record<string, string>, gateway = 'https://gateway.test') => ({
  gateway,
  token: 'rct_secret',
  taskId: 'task_abcdefghjkmn',
  env,
})

const configOf = async (env: Record<string, string>, gateway?: string) =>
  Object.fromEntries(await remoteConfig(remote(env, gateway), temporaryDirectory()))

test('git is told the proxy, or that there is none, for the gateway alone', async () => {
  const env = { HTTPS_PROXY: 'http://u:p@proxy.test', NO_PROXY: '.internal.test' }
  expect(await configOf(env)).toHaveProperty(['http.https://gateway.test/.proxy'], 'http://u:p@proxy.test:80')
  const inside = await configOf(env, 'https://gateway.internal.test')
  expect(inside).toHaveProperty(['http.https://gateway.internal.test/.proxy'], '')
  expect(await configOf({})).toHaveProperty(['http.https://gateway.test/.proxy'], '')
})

test('git trusts a private authority beside the usual ones, and its own variable is left alone', async () => {
  const file = join(temporaryDirectory(), 'ca.pem')
  writeFileSync(file, 'PRIVATE\n')
  const config = await configOf({ NODE_EXTRA_CA_CERTS: file })
  const bundle = readFileSync(String(config['http.https://gateway.test/.sslCAInfo']), 'utf8')
  expect(bundle).toContain('PRIVATE')
  expect(bundle.split('BEGIN CERTIFICATE').length).toBeGreaterThan(50)
  const own = await configOf({ NODE_EXTRA_CA_CERTS: file, GIT_SSL_CAINFO: '/own.pem' })
  expect(own).not.toHaveProperty(['http.https://gateway.test/.sslCAInfo'])
})

test.each([
  [{ user: 'ana', password: 'right' }, 'ana:not-it-9@', /does not accept the user and password in HTTPS_PROXY/],
  [{ user: 'ana', password: 'right' }, '', /wants a user and a password: set HTTPS_PROXY/],
  [{ status: 403 }, '', /does not let us through to gateway\.test \(403\)/],
  [{ status: 503 }, '', /did not connect us to gateway\.test: it answered 503/],
] as const)("git's failure at a proxy (%j, %s) is told in our words", async (options, login, words) => {
  const proxy = await startConnectProxy(options)
  await using scratch = await openScratch(await locate(temporaryDirectory()))
  const env = { HTTPS_PROXY: `http://${login}127.0.0.1:${proxy.port}` }
  const failure = await fetchTask(scratch, remote(env)).catch((error: Error) => error)
  expect(failure).toMatchObject({ code: 'unavailable', message: expect.stringMatching(words) })
  expect(String(failure)).not.toContain('not-it-9')
  expect(proxy.connects[0]?.userAgent).toMatch(/^git/)
})

test('a proxy that is not there is told as such, not as a gateway that does not run', async () => {
  await using scratch = await openScratch(await locate(temporaryDirectory()))
  const failure = await fetchTask(scratch, remote({ HTTPS_PROXY: 'http://127.0.0.1:1' })).catch((error: Error) => error)
  expect(String(failure)).toMatch(/the proxy http:\/\/127\.0\.0\.1:1 \(from HTTPS_PROXY\) cannot be reached/)
})
