/** The snippets of docs/network.md as they stand there, with names, ports and paths replaced, in the real programs. */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { routes } from '../../protocol/routes.ts'
import { startConnectProxy } from '../helpers/connect-proxy.ts'
import { freePort } from '../helpers/free-port.ts'
import { printed } from '../helpers/printed.ts'
import { hasOpenssl, makePrivateCa, type PrivateCa } from '../helpers/private-ca.ts'
import { makeRepository } from '../helpers/repository.ts'
import { startWebServer } from '../helpers/web-server.ts'
import { startWorld, World } from '../helpers/world.ts'

/** More than nginx takes by default. */
const BIG_BYTES = 3 * 1024 ** 2

const docs = readFileSync('docs/network.md', 'utf8')

function snippet(name: string, replace: Array<[text: string, by: string]>): string {
  const text = new RegExp(`<!-- ${name}:start -->\\n\`\`\`\\n([\\s\\S]*?)\`\`\`\\n<!-- ${name}:end -->`).exec(docs)?.[1]
  return replace.reduce((all, [from, to]) => {
    expect(all).toContain(from)
    return all.replaceAll(from, to)
  }, text ?? '')
}

interface Setup {
  directory: string
  port: number
  upstream: string
  ca: PrivateCa
}

/** What is replaced in both. */
const certificates = ({ ca }: Setup): Array<[string, string]> => [
  ['/etc/rclaude/cert.pem', ca.files.cert],
  ['/etc/rclaude/key.pem', ca.files.key],
]

const PROGRAMS: Record<string, (setup: Setup) => string[]> = {
  caddy: (setup) => {
    const file = join(setup.directory, 'Caddyfile')
    const site = snippet('caddy', [
      ...certificates(setup),
      ['rclaude.example.org', `https://gateway.test:${setup.port}`],
      ['127.0.0.1:7420', setup.upstream],
    ])
    writeFileSync(file, `{\n\tadmin off\n\tauto_https disable_redirects\n}\n${site}`)
    return ['run', '--adapter', 'caddyfile', '--config', file]
  },
  nginx: (setup) => {
    const file = join(setup.directory, 'nginx.conf')
    const site = snippet('nginx', [
      ...certificates(setup),
      ['rclaude.example.org', 'gateway.test'],
      ['listen 443 ssl', `listen 127.0.0.1:${setup.port} ssl`],
      ['127.0.0.1:7420', setup.upstream],
    ])
    const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map((name) => `${name}_temp_path ${setup.directory}/${name};`)
      .join(' ')
    const pid = join(setup.directory, 'nginx.pid')
    writeFileSync(file, `pid ${pid};\nevents {}\nhttp {\naccess_log off; ${paths}\n${site}}\n`)
    return ['-c', file, '-e', join(setup.directory, 'error.log'), '-g', 'daemon off;']
  },
}

for (const [name, argvOf] of Object.entries(PROGRAMS)) {
  const isThere = spawnSync(name, name === 'nginx' ? ['-v'] : ['version']).error === undefined
  if (!isThere) console.log(`the snippet for ${name} in docs/network.md is not tested here: ${name} is not installed`)

  test.skipIf(!isThere || !hasOpenssl)(
    `behind ${name}: a run with a large push, live output, exec and the caller's address`,
    async () => {
      const proxy = await startConnectProxy()
      const ca = makePrivateCa()
      const port = await freePort()
      const url = `https://gateway.test:${port}`
      const network = { HTTPS_PROXY: proxy.url, NODE_EXTRA_CA_CERTS: ca.file }
      const world = new World({ RCLAUDE_AGENT_URL: url, RCLAUDE_LISTEN__TRUSTED_PROXIES: '[127.0.0.1]', ...network })
      await startWorld({ world })
      const directory = join(world.directory, name)
      mkdirSync(directory)
      await startWebServer(name, argvOf({ directory, port, ca, upstream: new URL(world.url).host }), directory, port)
      const env = { RCLAUDE_GATEWAY: url, RCLAUDE_TOKEN: world.adminToken, ...network }
      const cwd = await makeRepository(world)
      writeFileSync(join(cwd, 'big.bin'), randomBytes(BIG_BYTES))

      const go = join(world.directory, 'go')
      const script = `wc -c < big.bin; until test -e ${go}; do sleep 0.1; done; head -c 2000000 big.bin > half.bin`
      const run = world.startCli(['run', '--unsandboxed', '--', 'sh', '-c', script], { cwd, env })
      await printed(run.process, String(BIG_BYTES)) // while the work goes on: nothing holds it back on the way
      const input = randomBytes(400_000).toString('hex')
      const executed = await world.cli(['exec', '-i', '@last', '--', 'cat'], { cwd, env, stdin: input })
      expect(executed.code, executed.stderr).toBe(0)
      expect(executed.stdout === input).toBe(true)
      writeFileSync(go, '')
      const ran = await run.result
      expect(ran, ran.stderr).toMatchObject({ code: 0 })
      expect(await world.cli(['apply', '@last'], { cwd, env })).toMatchObject({ code: 0 })
      expect(
        readFileSync(join(cwd, 'half.bin')).equals(readFileSync(join(cwd, 'big.bin')).subarray(0, 2_000_000)),
      ).toBe(true)

      expect(await createTokenAs('127.0.0.5', { port, ca, token: world.adminToken })).toBe(201)
      const { rows } = await world.api().call(routes.listAudit)
      expect(rows[0]).toMatchObject({ action: 'token.create', address: '127.0.0.5' })
    },
    60_000,
  )
}

/** A client at another address of this machine, who claims a third one. */
function createTokenAs(localAddress: string, { port, ca, token }: { port: number; ca: PrivateCa; token: string }) {
  return new Promise<number | undefined>((resolve, reject) => {
    const asked = request(
      {
        host: '127.0.0.1',
        port,
        localAddress,
        servername: 'gateway.test',
        ca: readFileSync(ca.file),
        method: 'POST',
        path: routes.createToken.path,
        headers: {
          host: 'gateway.test',
          authorization: `Bearer ${token}`,
          'content-type': 'application/json',
          'x-forwarded-for': '203.0.113.5',
          forwarded: 'for=203.0.113.5',
        },
      },
      (response) => {
        response.resume()
        resolve(response.statusCode)
      },
    )
    asked.on('error', reject).end(JSON.stringify({ name: 'x', user: 'x', role: 'viewer' }))
  })
}
