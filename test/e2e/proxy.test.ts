/**
 * A company's network: the gateway has a certificate of a private authority and a name that only the proxy can resolve.
 * The CLI, its git and the agent get there by HTTPS_PROXY and NODE_EXTRA_CA_CERTS alone.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { bash, say, steps } from '../../demo/model-server.ts'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { type ConnectProxyOptions, startConnectProxy } from '../helpers/connect-proxy.ts'
import { serveGit } from '../helpers/git-server.ts'
import { hasOpenssl, makePrivateCa, terminateTls } from '../helpers/private-ca.ts'
import { makeRepository } from '../helpers/repository.ts'
import { type CliOptions, git, startWorld, World } from '../helpers/world.ts'

const PASSWORD = 'p@ss:w/rd%1'

/** A gateway at https://gateway.test behind a proxy that asks for a password. */
async function company(options: ConnectProxyOptions & { isProxyTls?: boolean } = {}) {
  const ca = makePrivateCa()
  const proxy = await startConnectProxy({
    user: 'ana',
    password: PASSWORD,
    ...options,
    ...(options.isProxyTls && { tls: ca }),
  })
  const world: World = new World()
  const terminator = await terminateTls(ca, () => world.url)
  const url = `https://gateway.test:${terminator.port}`
  const network = { HTTPS_PROXY: proxy.url, NODE_EXTRA_CA_CERTS: ca.file }
  Object.assign(world.settings, { RCLAUDE_AGENT_URL: url, ...network })
  await startWorld({ world })
  const env = { RCLAUDE_GATEWAY: url, RCLAUDE_TOKEN: world.adminToken, ...network }
  const rclaude = (args: string[], more: CliOptions = {}) => world.cli(args, { ...more, env: { ...env, ...more.env } })
  return { ca, proxy, world, terminator, url, env, rclaude }
}

const strangers = ({ proxy, terminator }: Awaited<ReturnType<typeof company>>): number[] =>
  terminator.remotePorts.filter((port) => !proxy.ports.has(port))

describe.skipIf(!hasOpenssl)('behind a proxy with a password and a private authority', () => {
  test('a run goes there and back: files, events, the result, and the agent too', async () => {
    const all = await company()
    const { world, rclaude, proxy, url } = all
    const cwd = await makeRepository(world)
    const ran = await rclaude(
      ['run', '--unsandboxed', '--', 'sh', '-c', 'tr a-z A-Z < notes.txt > loud.txt; env > env.txt; env; cat loud.txt'],
      { cwd },
    )
    expect(ran, ran.stderr).toMatchObject({ code: 0, stdout: expect.stringContaining('NOT COMMITTED') })
    expect(await rclaude(['apply', '@last'], { cwd })).toMatchObject({ code: 0 })
    expect(readFileSync(join(cwd, 'loud.txt'), 'utf8')).toBe('NOT COMMITTED\n')
    const log = await rclaude(['logs', '-f', '@last'], { cwd })
    expect(log).toMatchObject({ code: 0, stdout: expect.stringContaining('NOT COMMITTED') })
    expect(log.stdout).toContain('HTTPS_PROXY=http://ana:***@127.0.0.1')

    expect(new Set(proxy.connects.map(({ target }) => target))).toEqual(new Set([new URL(url).host]))
    expect(proxy.connects.some(({ userAgent }) => userAgent?.startsWith('git/'))).toBe(true)
    expect(strangers(all)).toEqual([])
    // What the work runs finds the same way, and does not send loopback there.
    const work = readFileSync(join(cwd, 'env.txt'), 'utf8')
    expect(work).toContain(`\nhttps_proxy=${proxy.url}\n`)
    expect(work).toMatch(/^no_proxy=localhost,127\.0\.0\.1,::1$/m)
    const authorities = /^GIT_SSL_CAINFO=(.*authorities\.pem)$/m.exec(work)?.[1]
    expect(authorities).toBeDefined()
  }, 60_000)

  test('exec over a WebSocket, with input, output and exit code', async () => {
    const all = await company()
    const { world, rclaude } = all
    const task = await world.createTask({ agent: 'command', command: ['sleep', '300'], workspace: { kind: 'none' } })
    await world.state(task.id, 'running')
    const input = Buffer.alloc(300_000, 'abc\n').toString()
    const ran = await rclaude(['exec', '-i', task.id, '--', 'sh', '-c', 'cat; echo done >&2; exit 7'], { stdin: input })
    expect(ran.code, ran.stderr).toBe(7)
    expect(ran.stdout === input).toBe(true)
    expect(ran.stderr).toBe('done\n')
    expect(all.proxy.bytes.up).toBeGreaterThan(input.length)
    expect(strangers(all)).toEqual([])
    await rclaude(['stop', task.id])
    await world.ended(task.id)
  }, 60_000)

  test('a proxy that is spoken to over TLS', async () => {
    const { world, rclaude, proxy } = await company({ isProxyTls: true })
    const cwd = await makeRepository(world)
    const ran = await rclaude(['run', '--unsandboxed', '--', 'cat', 'notes.txt'], { cwd })
    expect(ran, ran.stderr).toMatchObject({ code: 0, stdout: expect.stringContaining('not committed') })
    expect(proxy.url).toMatch(/^https:/)
    expect(proxy.connects.length).toBeGreaterThan(3)
  }, 60_000)

  test('the agent clones --repo through the proxy, and says so when that does not let it', async () => {
    const { world, proxy, ca } = await company()
    await git(world.directory, 'clone', '-q', '--bare', await makeRepository(world), 'source.git')
    const server = await serveGit(world.directory)
    const { port } = await terminateTls(ca, () => server)
    const clone = ['run', '--unsandboxed', '--repo', `https://gateway.test:${port}/source.git`, '--', 'cat', 'calc.js']
    const ran = await world.cli(clone, { env: world.asAdmin })
    expect(ran, ran.stderr + ran.stdout).toMatchObject({ code: 0, stdout: expect.stringContaining('a - b') })
    expect(proxy.connects).toContainEqual({
      target: `gateway.test:${port}`,
      userAgent: expect.stringMatching(/^git/),
      status: 200,
    })

    const wrong = { HTTPS_PROXY: `http://ana:not-it-9@127.0.0.1:${proxy.port}`, NODE_EXTRA_CA_CERTS: ca.file }
    const other = await startWorld({ settings: wrong })
    const refused = await other.cli(clone, { env: other.asAdmin })
    expect(refused.code).toBe(EXIT_CODES.failed)
    expect(refused.stdout).toMatch(
      /could not be cloned: the proxy .* does not accept the user and password in HTTPS_PROXY/,
    )
    expect(refused.stdout).not.toContain('not-it-9')
  }, 60_000)

  test('a wrong password is told at once, with the proxy and the variable and without the password', async () => {
    const { rclaude, proxy, world } = await company()
    const wrong = `http://ana:not-it-9@127.0.0.1:${proxy.port}`
    const cwd = await makeRepository(world)
    for (const args of [['ps'], ['run', '--unsandboxed', '--', 'true']]) {
      const ran = await rclaude(args, { cwd, env: { https_proxy: wrong } })
      expect(ran.code).toBe(EXIT_CODES.internal)
      expect(ran.stderr).toMatch(
        /the proxy http:\/\/127\.0\.0\.1:\d+ \(from https_proxy\) does not accept the user and password in https_proxy/,
      )
      expect(ran.stderr + ran.stdout).not.toContain('not-it-9')
    }
    const none = await rclaude(['ps'], { env: { HTTPS_PROXY: `127.0.0.1:${proxy.port}` } })
    expect(none.stderr).toMatch(/wants a user and a password: set HTTPS_PROXY to http:\/\/USER:PASSWORD@127\.0\.0\.1:/)
    expect(proxy.connects.every(({ status }) => status !== 200)).toBe(true)
  }, 60_000)

  test('NO_PROXY goes straight there, and the proxy sees nothing', async () => {
    const { rclaude, proxy, terminator } = await company()
    const ran = await rclaude(['ps'], { env: { NO_PROXY: 'example.org,.test' } })
    expect(ran.stderr).toMatch(/cannot reach the gateway at https:\/\/gateway\.test:\d+ \((ENOTFOUND|EAI_AGAIN)\)/)
    const local = await rclaude(['ps'], { env: { RCLAUDE_GATEWAY: `https://127.0.0.1:${terminator.port}` } })
    expect(local, local.stderr).toMatchObject({ code: 0 }) // loopback, whatever the variables say
    expect(proxy.connects).toEqual([])
  })

  test('without the authority the message says what to set', async () => {
    const { rclaude } = await company()
    const ran = await rclaude(['ps'], { env: { NODE_EXTRA_CA_CERTS: '' } })
    expect(ran.stderr).toMatch(/nobody whom this machine trusts; name your authority's PEM file in NODE_EXTRA_CA_CERTS/)
  })

  test('doctor says which proxy leads to the gateway, and checks the file of authorities', async () => {
    const { rclaude, proxy } = await company()
    const { stdout } = await rclaude(['doctor', '--json'])
    const findings = (JSON.parse(stdout) as { findings: Array<{ name: string; ok: boolean; detail: string }> }).findings
    expect(findings).toContainEqual({
      name: 'proxy',
      ok: true,
      detail: `http://127.0.0.1:${proxy.port} (from HTTPS_PROXY)`,
    })
    expect(findings).toContainEqual(expect.objectContaining({ name: 'gateway', ok: true }))
    expect(stdout).not.toContain(PASSWORD)
    expect(stdout).not.toContain(encodeURIComponent(PASSWORD))
    const broken = await rclaude(['doctor'], { env: { NODE_EXTRA_CA_CERTS: '/nowhere.pem' } })
    expect(broken.stdout).toMatch(/✗ authorities\s+cannot read those of \/nowhere\.pem/)
  })
})

test('a proxy that refuses the gateway, or is not there, is told as such', async () => {
  const proxy = await startConnectProxy({ status: 403 })
  const world = new World()
  const env = { RCLAUDE_GATEWAY: 'https://gateway.test', RCLAUDE_TOKEN: 'rct_x', HTTPS_PROXY: proxy.url }
  await startWorld({ world })
  const refused = await world.cli(['ps'], { env })
  expect(refused.stderr).toMatch(/\(from HTTPS_PROXY\) does not let us through to gateway\.test:443 \(403\)/)
  const gone = await world.cli(['ps'], { env: { ...env, HTTPS_PROXY: 'http://u:secret@127.0.0.1:1' } })
  expect(gone.stderr).toMatch(/the proxy http:\/\/127\.0\.0\.1:1 \(from HTTPS_PROXY\) cannot be reached: ECONNREFUSED/)
  expect(gone.stderr).not.toContain('secret')
  const odd = await world.cli(['ps'], { env: { ...env, HTTPS_PROXY: 'http://u:se#cret@proxy:3128' } })
  expect(odd).toMatchObject({ code: EXIT_CODES.usage, stderr: expect.stringMatching(/HTTPS_PROXY holds no address/) })
  expect(odd.stderr).not.toMatch(/se#?cret/)
})

test('plain http goes by HTTP_PROXY: API calls, git and WebSockets', async () => {
  const proxy = await startConnectProxy({ user: 'ana', password: PASSWORD })
  const world = await startWorld({ settings: { RCLAUDE_LISTEN__HOSTS: '[gateway.test]' } })
  const url = `http://gateway.test:${new URL(world.url).port}`
  const env = { RCLAUDE_GATEWAY: url, RCLAUDE_TOKEN: world.adminToken, HTTP_PROXY: proxy.url }
  const cwd = await makeRepository(world)
  const ran = await world.cli(['run', '--unsandboxed', '--', 'cat', 'notes.txt'], { cwd, env })
  expect(ran, ran.stderr).toMatchObject({ code: 0, stdout: expect.stringContaining('not committed') })
  const task = await world.createTask({ agent: 'command', command: ['sleep', '300'], workspace: { kind: 'none' } })
  await world.state(task.id, 'running')
  expect(await world.cli(['exec', task.id, '--', 'echo', 'hello'], { env })).toMatchObject({
    code: 0,
    stdout: 'hello\n',
  })
  await world.cli(['stop', task.id], { env })
  await world.ended(task.id)
}, 60_000)

test('the real Claude Code reaches its model through the proxy, and one on loopback without it', async () => {
  const proxy = await startConnectProxy({ user: 'ana', password: PASSWORD })
  const network = { HTTP_PROXY: proxy.url, HTTPS_PROXY: proxy.url }
  const world = await startWorld({ script: steps(bash('echo done > done.txt'), say('Done.')), settings: network })
  const cwd = await makeRepository(world)
  const run = (model: string) =>
    world.cli(['run', '--unsandboxed', 'do it'], { cwd, env: { ...world.asAdmin, ANTHROPIC_BASE_URL: model } })
  const near = await run(world.model.url)
  expect(near, near.stderr + near.stdout).toMatchObject({ code: 0, stdout: expect.stringContaining('Done.') })
  const seen = () => proxy.requests.filter((target) => target.includes(new URL(world.model.url).port))
  expect(seen()).toEqual([])
  const far = await run(`http://model.test:${new URL(world.model.url).port}`)
  expect(far, far.stderr + far.stdout).toMatchObject({ code: 0, stdout: expect.stringContaining('Done.') })
  expect(seen().length).toBeGreaterThan(0)
}, 90_000)
