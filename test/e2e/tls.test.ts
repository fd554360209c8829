/** TLS of the gateway itself, with certificates of an authority that no machine knows. */
import { once } from 'node:events'
import { copyFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { Agent, request } from 'node:https'
import { join } from 'node:path'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { describe, expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { eventually } from '../helpers/eventually.ts'
import { freePort } from '../helpers/free-port.ts'
import { startDevServer } from '../helpers/previews.ts'
import { printed } from '../helpers/printed.ts'
import { type Certificate, hasOpenssl, makePrivateCa, type PrivateCa, terminateTls } from '../helpers/private-ca.ts'
import { type RawConnection, rawConnection } from '../helpers/raw.ts'
import { makeRepository } from '../helpers/repository.ts'
import { type CliOptions, startWorld, World } from '../helpers/world.ts'

async function secureWorld(settings: Record<string, string> = {}) {
  const ca = makePrivateCa()
  const world = new World()
  const files = { cert: join(world.directory, 'cert.pem'), key: join(world.directory, 'key.pem') }
  /** As programs that renew certificates do it: each file beside the old one, then in its place. */
  const install = (certificate: { cert: string; key: string }) => {
    for (const name of ['key', 'cert'] as const) {
      copyFileSync(certificate[name], `${files[name]}.new`)
      renameSync(`${files[name]}.new`, files[name])
    }
  }
  install(ca.files)
  Object.assign(world.settings, {
    RCLAUDE_LISTEN__TLS__CERT: files.cert,
    RCLAUDE_LISTEN__TLS__KEY: files.key,
    RCLAUDE_INTERVALS__CERTIFICATE: '100ms',
    NODE_EXTRA_CA_CERTS: ca.file,
    ...settings,
  })
  await startWorld({ world })
  const env = { ...world.asAdmin, NODE_EXTRA_CA_CERTS: ca.file }
  const rclaude = (args: string[], more: CliOptions = {}) => world.cli(args, { ...more, env: { ...env, ...more.env } })
  return { ca, world, files, install, env, rclaude, port: Number(new URL(world.url).port) }
}
type Secure = Awaited<ReturnType<typeof secureWorld>>

/** A task that waits, stopped when the test has finished. */
async function idleTask({ rclaude }: Secure): Promise<string> {
  const started = await rclaude(['run', '-d', '--unsandboxed', '--no-workspace', '--', 'sleep', '600'])
  expect(started, started.stderr).toMatchObject({ code: 0 })
  const [id = ''] = /task_\w+/.exec(started.stdout + started.stderr) ?? []
  onTestFinished(async () => {
    await rclaude(['stop', id])
    await eventually('it has ended', async () => (await rclaude(['show', '--json', id])).stdout.includes('"ended"'))
  })
  await eventually('it runs', async () => /"state": ?"running"/.test((await rclaude(['show', '--json', id])).stdout))
  return id
}

interface Ask {
  path: string
  headers?: Record<string, string>
}

function ask({ ca, port }: Secure, { path, headers = {} }: Ask): Promise<IncomingMessage & { body: string }> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path, headers, agent: false, ca: readFileSync(ca.file) }
    const asked = request({ ...options, servername: headers.host?.replace(/:\d+$/, '') ?? 'localhost' })
    asked.once('error', reject).once('response', async (response) => {
      let body = ''
      for await (const chunk of response.setEncoding('utf8')) body += chunk
      resolve(Object.assign(response, { body }))
    })
    asked.end()
  })
}

/** @returns what the other side shows to a new connection */
async function shake(ca: PrivateCa, port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port, ca: readFileSync(ca.file), ...options })
  onTestFinished(() => void socket.destroy())
  await once(socket, 'secureConnect')
  return socket.on('error', () => {}) // of one that is dropped later
}

const readCertificate = ({ cert, key }: Certificate): Certificate => ({
  cert: readFileSync(cert, 'utf8'),
  key: readFileSync(key, 'utf8'),
})

const commonName = async ({ ca, port }: Secure): Promise<string | undefined> => {
  const socket = await shake(ca, port)
  const { CN } = socket.getPeerCertificate().subject
  socket.destroy()
  return String(CN)
}

describe.skipIf(!hasOpenssl)('with a certificate of its own the gateway', () => {
  test('speaks TLS to clients, their git and agents', async () => {
    const secure = await secureWorld()
    const { world, rclaude } = secure
    expect(world.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/)
    const cwd = await makeRepository(world)
    const argv = ['run', '--unsandboxed', '--', 'sh', '-c', 'tr a-z A-Z < notes.txt > loud.txt; cat loud.txt']
    const ran = await rclaude(argv, { cwd })
    expect(ran, ran.stderr).toMatchObject({ code: 0, stdout: expect.stringContaining('NOT COMMITTED') })
    expect(await rclaude(['apply', '@last'], { cwd })).toMatchObject({ code: 0 })
    expect(readFileSync(join(cwd, 'loud.txt'), 'utf8')).toBe('NOT COMMITTED\n')

    const id = await idleTask(secure)
    const input = Buffer.alloc(300_000, 'abc\n').toString()
    const executed = await rclaude(['exec', '-i', id, '--', 'sh', '-c', 'cat; exit 7'], { stdin: input })
    expect(executed.code, executed.stderr).toBe(7)
    expect(executed.stdout === input).toBe(true)
    const stranger = await world.cli(['ps'], { env: world.asAdmin })
    expect(stranger.code).not.toBe(0)
    expect(stranger.stderr).toMatch(/certificate/)
  }, 60_000)

  test('takes TLS 1.2 and 1.3, HTTP/1.1, and nothing older or plain', async () => {
    const { ca, port, rclaude } = await secureWorld()
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const socket = await shake(ca, port, {
        minVersion: version,
        maxVersion: version,
        ALPNProtocols: ['h2', 'http/1.1'],
      })
      expect([socket.getProtocol(), socket.alpnProtocol]).toEqual([version, 'http/1.1'])
    }
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
    await expect(shake(ca, port, old)).rejects.toThrow(/version/i)
    const plain = await rawConnection(`http://127.0.0.1:${port}`)
    plain.send('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
    expect(await plain.closed()).toMatch(/^HTTP\/1\.1 400 .*begins with https/s)
    const asked = await rclaude(['ps'], { env: { RCLAUDE_GATEWAY: `http://127.0.0.1:${port}` } })
    expect(asked.code).not.toBe(0)
    expect(asked.stderr).toContain('this gateway speaks TLS: its URL begins with https://')
  })

  test('serves a renewed certificate to new connections, and what is attached goes on', async () => {
    const secure = await secureWorld()
    const { ca, world, install, env, port } = secure
    const id = await idleTask(secure)
    const go = join(world.directory, 'go')
    const script = `echo before; until test -e ${go}; do sleep 0.05; done; echo after; exit 7`
    const attached = world.startCli(['exec', id, '--', 'sh', '-c', script], { env })
    await printed(attached.process, 'before')
    const kept = await shake(ca, port)
    expect(await commonName(secure)).toBe('gateway')

    install(ca.issue({ commonName: 'renewed', days: 50 }))
    await eventually('new connections get the new one', async () => (await commonName(secure)) === 'renewed')
    kept.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
    expect(String((await once(kept, 'data'))[0])).toMatch(/^HTTP\/1\.1 200 /)
    writeFileSync(go, '')
    expect(await attached.result).toMatchObject({ code: 7, stdout: 'before\nafter\n', stderr: '' })

    const authorization = `Bearer ${world.adminToken}`
    const { body } = await ask(secure, { path: '/metrics', headers: { authorization } })
    expect(body).toContain(`rclaude_tunnel_resumes_total{task_id="${id}"} 0\n`)
    expect(body).toContain('rclaude_tunnels_opened_total 1\n')
    const [, expires] = /^rclaude_certificate_expires_timestamp_seconds (\S+)$/m.exec(body) ?? []
    expect(Number(expires) * 1000 - Date.now()).toBeGreaterThan(49 * 86_400_000)
  }, 60_000)

  test('keeps the one it has while the files do not fit, and says why', async () => {
    const secure = await secureWorld()
    const { ca, world, files, install } = secure
    const next = ca.issue({ commonName: 'renewed' })
    copyFileSync(next.cert, files.cert)
    await eventually('the log says so', () => world.gatewayLog.includes('the certificate of before is served on'))
    expect(await commonName(secure)).toBe('gateway')
    install(next)
    await eventually('it is served', async () => (await commonName(secure)) === 'renewed')
  })

  test('looks at once when it gets SIGHUP', async () => {
    const secure = await secureWorld({ RCLAUDE_INTERVALS__CERTIFICATE: '1h' })
    secure.install(secure.ca.issue({ commonName: 'renewed' }))
    expect(await commonName(secure)).toBe('gateway')
    process.kill(secure.world.gatewayPid, 'SIGHUP')
    await eventually('it is served', async () => (await commonName(secure)) === 'renewed')
  })

  test('has nothing to look at without TLS, and goes on', async () => {
    const world = await startWorld()
    process.kill(world.gatewayPid, 'SIGHUP')
    await eventually('the log says so', () => world.gatewayLog.includes('nothing to reload: listen.tls is not set'))
    expect((await fetch(`${world.url}/healthz`)).status).toBe(200)
  })

  test('is told from one that has another name, an expired certificate or none', async () => {
    const secure = await secureWorld()
    const { ca, world, rclaude } = secure
    const plain = await startWorld()
    const failure = async (url: string) => (await rclaude(['ps'], { env: { RCLAUDE_GATEWAY: url } })).stderr
    expect(await failure(plain.url.replace('http:', 'https:'))).toContain('it does not speak TLS there')
    const expired = await terminateTls(readCertificate(ca.issue({ days: -1 })), () => world.url)
    expect(await failure(`https://127.0.0.1:${expired.port}`)).toContain("the gateway's certificate has expired")
    const other = await terminateTls(readCertificate(ca.issue({ names: 'DNS:other.test' })), () => world.url)
    expect(await failure(`https://127.0.0.1:${other.port}`)).toContain('its certificate is for another name')
  })

  test('does not start with files that cannot be used', async () => {
    const world = new World({
      RCLAUDE_LISTEN__TLS__CERT: '/nonexistent/a.pem',
      RCLAUDE_LISTEN__TLS__KEY: '/nonexistent/b.pem',
    })
    onTestFinished(() => world.close())
    const ended = await world.runGateway()
    expect(ended.code).toBe(78)
    expect(ended.stderr).toBe('gateway: listen.tls.cert: /nonexistent/a.pem is not there\n')
  })

  test('drops connections that only hold the door, and lets clients in', async () => {
    const secure = await secureWorld({ RCLAUDE_LIMITS__HANDSHAKES: '10' })
    const { ca, port } = secure
    const asked = await shake(ca, port)
    asked.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await once(asked, 'data') // and is no door-holder any more, idle or not
    const silent: RawConnection[] = []
    const shaken: TLSSocket[] = []
    for (let n = 0; n < 15; n++) silent.push(await rawConnection(`http://127.0.0.1:${port}`))
    for (let n = 0; n < 15; n++) shaken.push((await shake(ca, port)).resume())
    const open = () => silent.filter((one) => !one.isClosed).length + shaken.filter((one) => !one.destroyed).length
    await eventually('only the limit is left', () => open() <= 10)
    expect((await ask(secure, { path: '/healthz' })).statusCode).toBe(200)
    asked.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
    expect(String((await once(asked, 'data'))[0])).toMatch(/^HTTP\/1\.1 200 /)
  })

  test('cuts off who shakes no hands', async () => {
    const { port } = await secureWorld({ RCLAUDE_LIMITS__HANDSHAKE_TIMEOUT: '1s' })
    const silent = await rawConnection(`http://127.0.0.1:${port}`)
    await silent.closed(10_000)
  })

  test('has previews on their own origins, with secure cookies and hot reload', async () => {
    const { port: devPort, hot } = await startDevServer((_, response) => response.end('the page'))
    hot.on('connection', (client) => client.send('reload'))
    const port = await freePort()
    const secure = await secureWorld({
      RCLAUDE_LISTEN__PORT: String(port),
      RCLAUDE_PUBLIC_URL: `https://localhost:${port}`,
      RCLAUDE_PREVIEWS__DOMAIN: 'preview.gateway.test',
    })
    const id = await idleTask(secure)
    const printedLink = await secure.rclaude(['preview', id, String(devPort), '--path', '/start'])
    const { origin, host, pathname, search } = new URL(printedLink.stdout.trim())
    expect(origin).toMatch(new RegExp(`^https://${devPort}--[a-z0-9]{12}\\.preview\\.gateway\\.test:${port}$`))
    const entered = await ask({ ...secure, port }, { path: pathname + search, headers: { host } })
    expect([entered.statusCode, entered.headers.location]).toEqual([303, '/start'])
    const [whole = ''] = entered.headers['set-cookie'] ?? []
    expect(whole).toMatch(/^__Host-rclaude-preview=\S+; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=28800$/)
    const cookie = whole.split(';', 1)[0] ?? ''
    expect((await ask({ ...secure, port }, { path: '/start', headers: { host, cookie } })).body).toBe('the page')

    const socket = new WebSocket(`wss://127.0.0.1:${port}/`, {
      agent: new Agent({ ca: readFileSync(secure.ca.file), servername: host.replace(/:\d+$/, '') }),
      headers: { host, cookie, origin },
    })
    onTestFinished(() => socket.terminate())
    expect(String((await once(socket, 'message'))[0])).toBe('reload')
  })
})
