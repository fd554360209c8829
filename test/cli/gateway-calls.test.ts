/** What the CLI asks of a gateway, and what it makes of the answers. */
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { eventually } from '../helpers/eventually.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'
import { bundleCli, runCli, startCli } from './support/bundle.ts'
import { aTask, loopback, sendJson, sendProblem } from './support/loopback.ts'

const bundle = await bundleCli()
const TASK = 'task_abcdefghjkmn'
const TOKEN = 'rct_secret'
const ME = { user: 'ana', role: 'member', tokenId: 'token_abcdefghjkmn', tokenName: 'laptop' }
const INFO = {
  gatewayId: 'gw_abcdefghjkmn',
  version: '0.1.0',
  protocol: { oldest: 1, newest: 1 },
  capabilities: [],
  launchers: [{ name: 'process', isolation: 'none' }],
  defaultLauncher: 'process',
  modelCredentials: [],
  limits: {},
}
const QUEUED = aTask({ state: 'queued', waitingFor: 'launch', since: '2026-01-02T03:04:05.000Z' })
const event = (seq: number, body: object) =>
  `${JSON.stringify({ seq, source: 'gateway', at: '2026-01-02T03:04:05.000Z', turn: 1, ...body })}\n`

const envOf = (url: string) => ({ RCLAUDE_GATEWAY: url, RCLAUDE_TOKEN: TOKEN })

test('login checks the token, keeps it for its owner only, and later commands use it', async () => {
  const home = temporaryDirectory()
  const { url, tokens } = await loopback((_, response, { pathname }) =>
    sendJson(response, pathname === '/v1/me' ? ME : { tasks: [] }),
  )
  const { code, stdout } = await runCli(bundle, home, ['login', `${url}/`], { stdin: `${TOKEN}\n` })
  expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringContaining('as ana (member)') })
  expect(stdout).not.toContain(TOKEN)
  const file = join(home, '.config', 'rclaude', 'contexts', `${new URL(url).host.replace(':', '-')}.json`)
  expect(statSync(file).mode & 0o777).toBe(0o600)
  expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ url, token: TOKEN, user: 'ana' })
  expect((await runCli(bundle, home, ['ps', '--json'])).stdout).toBe('{"tasks":[]}\n')
  expect(tokens).toEqual([`Bearer ${TOKEN}`, `Bearer ${TOKEN}`])
})

test('login warns that http is plain text, also for a name that only looks like loopback', async () => {
  const home = temporaryDirectory()
  const env = { RCLAUDE_TOKEN: TOKEN }
  const { url } = await loopback((_, response) => sendJson(response, ME))
  expect((await runCli(bundle, home, ['login', url], { env })).stderr).not.toContain('unencrypted')
  for (const host of ['127.example.invalid', 'localhost.example.invalid']) {
    const { stderr } = await runCli(bundle, home, ['login', `http://${host}:1`], { env })
    expect(stderr).toContain('this is http: the token and your code travel unencrypted')
  }
})

test('login keeps nothing when the gateway refuses the token', async () => {
  const home = temporaryDirectory()
  const { url } = await loopback((_, response) => sendProblem(response, 401, 'unauthenticated', 'no valid token'))
  const { code, stderr } = await runCli(bundle, home, ['login', url], { env: { RCLAUDE_TOKEN: TOKEN } })
  expect({ code, stderr }).toEqual({
    code: EXIT_CODES.internal,
    stderr: 'rclaude: no valid token (request req_test)\n',
  })
  expect((await runCli(bundle, home, ['ps'])).stderr).toContain('no gateway')
})

test('the token of the login is sent to no other gateway', async () => {
  const home = temporaryDirectory()
  const mine = await loopback((_, response) => sendJson(response, ME))
  const other = await loopback((_, response) => sendJson(response, { tasks: [] }))
  await runCli(bundle, home, ['login', mine.url], { env: { RCLAUDE_TOKEN: TOKEN } })
  const { code, stderr } = await runCli(bundle, home, ['ps', '--gateway', other.url])
  expect(code).toBe(EXIT_CODES.internal)
  expect(stderr).toContain(`no token for ${other.url}`)
  expect(other.tokens).toEqual([])
})

test('a flag goes over the environment, and the environment over the login', async () => {
  const home = temporaryDirectory()
  const answer = { tasks: [] }
  const [flag, environment, login] = await Promise.all(
    ['flag', 'environment', 'login'].map(() =>
      loopback((_, response, { pathname }) => sendJson(response, pathname === '/v1/me' ? ME : answer)),
    ),
  )
  const tokenFile = join(home, 'token')
  writeFileSync(tokenFile, 'rct_file\n')
  await runCli(bundle, home, ['login', login?.url ?? '', '--token-file', tokenFile])
  await runCli(bundle, home, ['ps'])
  await runCli(bundle, home, ['ps'], { env: envOf(environment?.url ?? '') })
  await runCli(bundle, home, ['ps', '--gateway', flag?.url ?? '', '--token-file', tokenFile], {
    env: envOf(environment?.url ?? ''),
  })
  expect([login?.requests.length, environment?.requests.length, flag?.requests.length]).toEqual([2, 1, 1])
  expect(flag?.tokens).toEqual(['Bearer rct_file'])
})

test('what a gateway says in an error cannot drive the terminal', async () => {
  const { url } = await loopback((_, response) => sendProblem(response, 404, 'not_found', 'gone\u001b[2J\u009b1A'))
  const { stderr } = await runCli(bundle, temporaryDirectory(), ['show', TASK], { env: envOf(url) })
  expect(stderr).toBe('rclaude: gone^[[2J<U+009B>1A (request req_test)\n')
})

test('without credentials nothing is created, and one sentence says what to do', async () => {
  const { url, requests } = await loopback((_, response) => sendJson(response, INFO))
  const { code, stderr } = await runCli(bundle, temporaryDirectory(), ['run', '--unsandboxed', 'fix it'], {
    env: envOf(url),
  })
  expect({ code, stderr }).toMatchObject({
    code: EXIT_CODES.usage,
    stderr: expect.stringMatching(/ANTHROPIC_API_KEY.*\n$/),
  })
  expect(stderr.split('\n').length).toBe(2)
  expect(requests).toEqual(['GET /v1/info'])
})

test('an unsandboxed run needs consent: where nobody can be asked, the flag or an earlier yes', async () => {
  const home = temporaryDirectory()
  const { url, requests } = await loopback((_, response, { pathname }) =>
    pathname === '/v1/info' ? sendJson(response, INFO) : sendProblem(response, 429, 'limit', 'too many tasks'),
  )
  const args = ['run', '--no-workspace', '--', 'true']
  const options = { env: envOf(url) }
  const refused = await runCli(bundle, home, args, options)
  expect(refused).toMatchObject({ code: EXIT_CODES.usage, stderr: expect.stringContaining('--unsandboxed') })
  expect(requests).toEqual(['GET /v1/info'])

  const once = await runCli(bundle, home, ['run', '--unsandboxed', ...args.slice(1)], options)
  expect(once.stderr).toContain('too many tasks')
  expect((await runCli(bundle, home, args, options)).stderr).toContain('--unsandboxed')

  const consent = join(home, '.config', 'rclaude')
  mkdirSync(consent, { recursive: true })
  writeFileSync(join(consent, 'consent.json'), JSON.stringify({ unsandboxed: { at: '2026-01-02T03:04:05.000Z' } }))
  expect((await runCli(bundle, home, args, options)).stderr).toContain('too many tasks')
})

test('a home folder is not sent by accident', async () => {
  const { url, requests } = await loopback((_, response) => sendJson(response, INFO))
  const { code, stderr } = await runCli(bundle, temporaryDirectory(), ['run', '--unsandboxed', '--', 'true'], {
    env: envOf(url),
  })
  expect({ code, stderr }).toMatchObject({ code: EXIT_CODES.usage, stderr: expect.stringContaining('is no project') })
  expect(requests).toEqual(['GET /v1/info'])
})

test('a create whose answer is lost is repeated with the same key, and secrets travel in the body only', async () => {
  const keys: unknown[] = []
  let body = ''
  const { url, requests } = await loopback((request, response, { pathname }) => {
    if (pathname === '/v1/info') return sendJson(response, INFO)
    keys.push(request.headers['idempotency-key'])
    body = ''
    request.setEncoding('utf8').on('data', (text: string) => {
      body += text
    })
    request.on('end', () => (keys.length === 1 ? response.destroy() : sendJson(response, aTask(), 201)))
  })
  const { code, stdout, stderr } = await runCli(
    bundle,
    temporaryDirectory(),
    ['run', '--unsandboxed', '--no-workspace', '--detach', '--secret', 'DB', 'fix it'],
    { env: { ...envOf(url), ANTHROPIC_API_KEY: 'sk-1', ANTHROPIC_BASE_URL: 'http://127.0.0.1:1', DB: 'pw' } },
  )
  expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: `${TASK}\n`, stderr: '' })
  expect(keys.length).toBe(2)
  expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/)
  expect(keys[1]).toBe(keys[0])
  expect(JSON.parse(body)).toMatchObject({
    secrets: { ANTHROPIC_API_KEY: 'sk-1', DB: 'pw' },
    env: { ANTHROPIC_BASE_URL: 'http://127.0.0.1:1' },
  })
  expect(requests.join('\n')).not.toMatch(/sk-1|pw/)
})

test('--json writes the events as NDJSON and the task as the last line; the exit code is the outcome', async () => {
  const task = aTask({ lastSeq: 2, outcome: 'blocked', reason: 'permission_denied' })
  const { url } = await loopback((_, response, { pathname }) => {
    if (!pathname.endsWith('/events')) return sendJson(response, task)
    response.end(event(1, { type: 'warning', message: 'one' }) + event(2, { type: 'state', state: 'ended' }))
  })
  const { code, stdout } = await runCli(bundle, temporaryDirectory(), ['attach', TASK, '--json'], { env: envOf(url) })
  expect(code).toBe(EXIT_CODES.blocked)
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { type: string; task?: { id: string } })
  expect(lines.map(({ type }) => type)).toEqual(['run', 'warning', 'state', 'task'])
  expect(lines.at(-1)?.task?.id).toBe(TASK)
})

test.each([['SIGINT'], ['SIGTERM']] as const)(
  '%s during a run stops the task, waits for its end, and tells the outcome',
  async (signal) => {
    let stopped = () => {}
    const { url, requests } = await loopback((_, response, { pathname }) => {
      if (pathname === '/v1/info') return sendJson(response, INFO)
      if (pathname === '/v1/tasks') return sendJson(response, QUEUED, 201)
      if (pathname.endsWith('/stop')) {
        sendJson(response, aTask(), 202)
        return stopped()
      }
      if (!pathname.endsWith('/events'))
        return sendJson(response, aTask({ lastSeq: 2, outcome: 'cancelled', reason: 'user' }))
      response.write(event(1, { type: 'warning', message: 'under way' }))
      stopped = () => void response.end(event(2, { type: 'state', state: 'ended', outcome: 'cancelled' }))
    })
    const { process: child, result } = startCli(
      bundle,
      temporaryDirectory(),
      ['run', '--unsandboxed', '--no-workspace', '--', 'sleep', '60'],
      { env: envOf(url) },
    )
    let shown = ''
    child.stdout?.on('data', (chunk: Buffer) => {
      shown += chunk.toString()
    })
    await eventually('the run is watched', () => shown.includes('under way'))
    child.kill(signal)
    const { code, stdout } = await result
    expect(code).toBe(EXIT_CODES.cancelled)
    expect(stdout).toContain('stopping; what the task has done so far is saved first')
    expect(requests.filter((line) => line === `POST /v1/tasks/${TASK}/stop`).length).toBe(1)
  },
)

test('a second signal leaves at once, as the signal would have it', async () => {
  const { url } = await loopback((_, response, { pathname }) => {
    if (pathname === '/v1/info') return sendJson(response, INFO)
    if (pathname === '/v1/tasks') return sendJson(response, QUEUED, 201)
    if (pathname.endsWith('/stop')) return sendJson(response, aTask(), 202)
    response.write(event(1, { type: 'warning', message: 'under way' })) // and never ends
  })
  const { process: child, result } = startCli(
    bundle,
    temporaryDirectory(),
    ['run', '--unsandboxed', '--no-workspace', '--', 'sleep', '60'],
    { env: envOf(url) },
  )
  let shown = ''
  child.stdout?.on('data', (chunk: Buffer) => {
    shown += chunk.toString()
  })
  await eventually('the run is watched', () => shown.includes('under way'))
  child.kill('SIGTERM')
  await eventually('it stops the task', () => shown.includes('stopping'))
  child.kill('SIGTERM')
  expect((await result).code).toBe(128 + 15)
})

test('diff in a pipe is the patch byte for byte, --stat counts it', async () => {
  const patch = Buffer.from(
    'diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n same\n-\u001b[31mold\xff\n+new\r\n',
    'latin1',
  )
  const { url } = await loopback(({ url: path }, response) => {
    if (path?.endsWith('/patch')) return void response.writeHead(200, { 'content-type': 'text/x-diff' }).end(patch)
    sendJson(response, aTask())
  })
  const home = temporaryDirectory()
  const file = join(home, 'out')
  const raw = await runCli(bundle, home, ['diff', TASK], { env: envOf(url) })
  writeFileSync(file, raw.stdout)
  expect(raw.stdout).toBe(patch.toString('utf8'))
  const { stdout } = await runCli(bundle, home, ['diff', TASK, '--stat'], { env: envOf(url) })
  expect(stdout).toBe('FILE  CHANGED\nx     2        +-\n1 file changed, +1 -1\n')
})

test('ps lists tasks as a table, ids with -q, and cannot be driven by a title', async () => {
  const title = 'evil\u001b]0;x\u0007 title'
  const task = aTask({ turns: [{ ...aTask().turns[0], prompt: title }] })
  const { url, requests } = await loopback((_, response) => sendJson(response, { tasks: [task] }))
  const home = temporaryDirectory()
  const { stdout } = await runCli(bundle, home, ['ps', '-a'], { env: envOf(url) })
  expect(stdout).toMatch(/^TASK +STATE +OUTCOME +AGE +DURATION +AGENT +TITLE\n/)
  expect(stdout).toMatch(/task_abcdefghjkmn +ended +succeeded +\d+d +0\.0s +claude +evil\^\[\]0;x\^G title\n$/)
  expect((await runCli(bundle, home, ['ps', '-q', '--label', 'a=b'], { env: envOf(url) })).stdout).toBe(`${TASK}\n`)
  expect(requests).toEqual(['GET /v1/tasks?limit=50', 'GET /v1/tasks?limit=50&label=a%3Db&state=active'])
})

test('ps sums what the listed tasks cost: models and machines apart', async () => {
  const costs = [
    { usage: { ...QUEUED.usage, costUsd: 1.5 }, machineCost: { usd: 0.25, seconds: 900 } },
    { usage: { ...QUEUED.usage, costUsd: 0.5 } },
    { machineCost: { usd: 1, seconds: 3_600 } },
  ]
  const tasks = costs.map((cost) => ({ ...QUEUED, ...cost }))
  const { url } = await loopback((_, response) => sendJson(response, { tasks }))
  const env = { RCLAUDE_GATEWAY: url, RCLAUDE_TOKEN: 'rct_secret' }
  const ps = (...args: string[]) => runCli(bundle, temporaryDirectory(), ['ps', ...args], { env })
  expect((await ps()).stderr).toBe('cost of these tasks: $2.00 for models, $1.25 for machines\n')
  expect((await ps('-o', 'wide')).stdout).toMatch(/\$1\.50 +\$0\.25/)
  expect((await ps('-q')).stderr).toBe('')
})

test('a gateway at its limit is waited for, which is said; run --no-wait fails at once', async () => {
  let refusals = 1
  const { url } = await loopback((_, response) => {
    if (refusals-- <= 0) return sendJson(response, { tasks: [] })
    response.setHeader('retry-after', '1')
    sendProblem(response, 429, 'limit', 'too many requests of this token')
  })
  const home = temporaryDirectory()
  expect(await runCli(bundle, home, ['ps', '--json'], { env: envOf(url) })).toEqual({
    code: 0,
    stdout: '{"tasks":[]}\n',
    stderr: 'the gateway is at a limit; trying again in 1.0s\n',
  })
  refusals = 10
  const began = Date.now()
  const args = ['run', '--no-wait', '--no-workspace', '--unsandboxed', '--', 'true']
  expect(await runCli(bundle, home, args, { env: envOf(url) })).toMatchObject({
    code: EXIT_CODES.budget,
    stderr: 'rclaude: too many requests of this token (request req_test)\n',
  })
  expect(refusals).toBe(9)
  expect(Date.now() - began).toBeLessThan(10_000)
})
