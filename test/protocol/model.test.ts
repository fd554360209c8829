import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { checkModelAccess, ModelSettings, modelEnvironment, profileFault } from '../../protocol/model.ts'

test.each([
  [{ kind: 'anthropic' }, ['ANTHROPIC_API_KEY'], undefined],
  [{ kind: 'anthropic' }, [], 'needs ANTHROPIC_API_KEY'],
  [{ kind: 'anthropic' }, ['ANTHROPIC_API_KEY', 'HOME'], 'has no use for HOME'],
  [{ kind: 'oauth' }, ['ANTHROPIC_API_KEY'], 'has no use for ANTHROPIC_API_KEY'],
  [{ kind: 'bedrock' }, [], 'needs region'],
  [{ kind: 'bedrock', region: 'eu-central-1' }, [], undefined],
  [{ kind: 'bedrock', region: 'eu-central-1' }, ['AWS_ACCESS_KEY_ID'], 'AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY'],
  [{ kind: 'bedrock', region: 'x1' }, ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'], undefined],
  [{ kind: 'vertex', region: 'x1' }, [], 'needs project'],
  [{ kind: 'vertex', region: 'x1', project: 'p-1' }, ['GOOGLE_APPLICATION_CREDENTIALS_JSON'], undefined],
] as const)('a profile %j with %j: %s', (settings, secrets, fault) => {
  const found = profileFault(ModelSettings.parse(settings), secrets)
  if (fault === undefined) expect(found).toBeUndefined()
  else expect(found).toContain(fault)
})

test.each([
  'http://llm.example.org',
  'https://user:pass@llm.example.org',
  'ftp://llm.example.org',
  'http://127.example.org',
  'http://localhost.example.org',
])('no key is sent to %s', (baseUrl) => {
  expect(ModelSettings.safeParse({ kind: 'anthropic', baseUrl }).success).toBe(false)
})

test('each kind has the variables that Claude Code reads', () => {
  expect(modelEnvironment({ kind: 'bearer', baseUrl: 'https://x.test' })).toEqual({
    ANTHROPIC_BASE_URL: 'https://x.test',
  })
  expect(modelEnvironment({ kind: 'oauth' })).toEqual({})
  expect(modelEnvironment({ kind: 'bedrock', region: 'eu-central-1' })).toEqual({
    CLAUDE_CODE_USE_BEDROCK: '1',
    AWS_REGION: 'eu-central-1',
  })
  expect(modelEnvironment({ kind: 'vertex', region: 'europe-west1', project: 'p' })).toEqual({
    CLAUDE_CODE_USE_VERTEX: '1',
    CLOUD_ML_REGION: 'europe-west1',
    ANTHROPIC_VERTEX_PROJECT_ID: 'p',
  })
})

/** A server that answers everything with this status, and what it was asked. */
async function answering(status: number, headers: Record<string, string> = {}) {
  const asked: Pick<IncomingMessage, 'url' | 'headers'>[] = []
  const server = createServer((request, response) => {
    asked.push({ url: request.url, headers: request.headers })
    response.writeHead(status, headers).end('{}')
  }).listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  return { asked, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}
const options = () => ({ fetch, signal: AbortSignal.timeout(5_000) })

test.each([
  [200, 'accepted'],
  [401, 'refused'],
  [403, 'unknown'],
  [404, 'unknown'],
  [429, 'unknown'],
  [500, 'unknown'],
])('a model server that answers %i: %s', async (status, verdict) => {
  const { url, asked } = await answering(status)
  const secrets = { ANTHROPIC_API_KEY: 'key' }
  const check = await checkModelAccess({ kind: 'anthropic', baseUrl: `${url}/` }, secrets, options())
  expect(check.verdict).toBe(verdict)
  expect(asked).toHaveLength(1)
  expect(asked[0]).toMatchObject({ url: '/v1/models?limit=1', headers: { 'x-api-key': 'key' } })
})

test('credentials go to no server that a redirect names, and one that is out of reach says neither yes nor no', async () => {
  const other = await answering(200)
  const { url } = await answering(302, { location: `${other.url}/v1/models` })
  const secrets = { CLAUDE_CODE_OAUTH_TOKEN: 'token' }
  expect((await checkModelAccess({ kind: 'oauth', baseUrl: url }, secrets, options())).verdict).toBe('unknown')
  expect(other.asked).toEqual([])
  const closed = await closedPort()
  const nowhere = await checkModelAccess({ kind: 'oauth', baseUrl: `http://127.0.0.1:${closed}` }, secrets, options())
  expect(nowhere).toEqual({ verdict: 'unknown', detail: `127.0.0.1:${closed} could not be asked (ECONNREFUSED)` })
})

async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
