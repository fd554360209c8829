/** Ways to a model: what a task brings, what its owner keeps on the gateway, what the gateway offers. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { say, steps } from '../../demo/model-server.ts'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import { eventually } from '../helpers/eventually.ts'
import { gitRecorder } from '../helpers/git-calls.ts'
import { makeRepository } from '../helpers/repository.ts'
import { startWorld, World } from '../helpers/world.ts'

const script = steps(say('Done.'))
const KEY = {
  task: 'sk-ant-of-the-task-0123456789',
  user: 'sk-ant-of-the-user-0123456789',
  gateway: 'sk-ant-of-the-gateway-01',
}

/** A gateway that offers the profile `team`, and a user without anything in the environment. */
async function worldWithTeam() {
  const world = new World({ TEAM_KEY_IS_CALLED: 'x', ANTHROPIC_API_KEY: KEY.gateway, RCLAUDE_MODELS__DEFAULT: 'team' })
  const model = await world.startModel(script)
  world.settings.RCLAUDE_MODELS__PROFILES__TEAM = `{ kind: anthropic, baseUrl: "${model.url}", model: team-model, secrets: [ANTHROPIC_API_KEY] }`
  await startWorld({ world })
  const { ANTHROPIC_API_KEY: _, ANTHROPIC_BASE_URL: __, ...bare } = world.userEnvironment()
  const cli = (args: string[], env: Record<string, string> = {}, stdin?: string) =>
    world.cli(args, {
      env: { ...bare, ANTHROPIC_API_KEY: '', ANTHROPIC_BASE_URL: '', ...world.asAdmin, ...env },
      ...(stdin !== undefined && { stdin }),
    })
  /** The key and the model of the last conversation. */
  const used = () => {
    const asked = world.model.requests.filter((request) => request.kind === 'conversation').at(-1)
    return { key: asked?.headers['x-api-key'], model: asked?.conversation?.model }
  }
  const run = (args: string[] = [], env?: Record<string, string>) =>
    cli(['run', '--unsandboxed', '--no-workspace', ...args, 'do it'], env)
  return { world, model, cli, run, used }
}

test('what the task brings goes over what its owner keeps, and that over what the gateway offers', async () => {
  const { model, cli, run, used } = await worldWithTeam()
  const byGateway = await run()
  expect(byGateway, byGateway.stderr).toMatchObject({ code: 0 })
  expect(used()).toEqual({ key: KEY.gateway, model: 'team-model' })

  const added = await cli(
    [
      'model',
      'add',
      'mine',
      '--kind',
      'anthropic',
      '--base-url',
      model.url,
      '--model',
      'my-model',
      '--secret',
      'ANTHROPIC_API_KEY=-',
    ],
    {},
    KEY.user,
  )
  expect(added, added.stderr).toMatchObject({ code: 0 })
  expect(added.stdout).toMatch(/^kept mine: an Anthropic key at http.*, for tasks that bring no credentials$/m)
  await run()
  expect(used()).toEqual({ key: KEY.user, model: 'my-model' })
  await run(['--model', 'other-model'])
  expect(used()).toEqual({ key: KEY.user, model: 'other-model' })

  await run([], { ANTHROPIC_API_KEY: KEY.task, ANTHROPIC_BASE_URL: model.url })
  expect(used().key).toBe(KEY.task)
  await run(['--model-profile', 'team'], { ANTHROPIC_API_KEY: KEY.task, ANTHROPIC_BASE_URL: model.url })
  expect(used()).toEqual({ key: KEY.gateway, model: 'team-model' })

  const listed = await cli(['model', 'ls'])
  expect(listed.stdout).toMatch(/^mine +anthropic +user +yes +my-model +http/m)
  expect(listed.stdout).toMatch(/^team +anthropic +gateway +team-model/m)
  expect((await cli(['model', 'rm', 'mine'])).code).toBe(0)
  await run()
  expect(used().key).toBe(KEY.gateway)
  expect((await cli(['model', 'rm', 'mine'])).stderr).toMatch(/you have no model profile "mine"/)
}, 60_000)

test('a secret of a profile goes in and never comes out: no answer, no log, no plain byte on the disk, nobody else', async () => {
  const { world, cli, run } = await worldWithTeam()
  const secret = 'canary-of-a-profile-0123456789'
  const added = await cli(
    ['model', 'add', 'mine', '--secret', 'ANTHROPIC_API_KEY=-', '--kind', 'anthropic', '--json'],
    {},
    secret,
  )
  const listed = await cli(['model', 'ls', '--json'])
  expect(JSON.parse(listed.stdout).profiles[0]).toMatchObject({
    name: 'mine',
    of: 'user',
    secrets: ['ANTHROPIC_API_KEY'],
  })
  const files = readdirSync(world.data, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'))
  for (const text of [added.stdout, listed.stdout, world.gatewayLog, ...files]) expect(text).not.toContain(secret)

  const { secret: token } = await world
    .api()
    .call(routes.createToken, { body: { name: 't', user: 'bob', role: 'member' } })
  const asBob = { RCLAUDE_TOKEN: token }
  expect(
    JSON.parse((await cli(['model', 'ls', '--json'], asBob)).stdout).profiles.map((one: { name: string }) => one.name),
  ).toEqual(['team'])
  expect((await run(['--model-profile', 'mine'], asBob)).stderr).toMatch(/no model profile "mine"; there is: team/)
})

test('credentials that the model refuses are told before anything is launched', async () => {
  const server = createServer((_, response) => response.writeHead(401).end()).listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const world = await startWorld({
    settings: {
      ANTHROPIC_API_KEY: KEY.gateway,
      RCLAUDE_MODELS__PROFILES__TEAM: `{ kind: anthropic, baseUrl: "${url}", secrets: [ANTHROPIC_API_KEY] }`,
    },
  })
  const run = (args: string[], env: Record<string, string>) =>
    world.cli(['run', '--unsandboxed', '--no-workspace', ...args, 'do it'], { env: { ...world.asAdmin, ...env } })
  const own = await run([], { ANTHROPIC_API_KEY: KEY.task, ANTHROPIC_BASE_URL: url })
  expect(own.code).toBe(EXIT_CODES.internal)
  expect(own.stderr).toMatch(
    /refused the credentials \(401\): ANTHROPIC_API_KEY of your environment.*nothing was launched/,
  )
  const offered = await run(['--model-profile', 'team'], {})
  expect(offered.stderr).toMatch(/refused the credentials \(401\): mend the model profile "team" of the gateway/)
  expect((await world.api().call(routes.listTasks, { query: {} })).tasks).toEqual([])
  const checked = await world.cli(['model', 'check', 'team'], { env: world.asAdmin })
  expect(checked).toMatchObject({ code: 1, stdout: expect.stringMatching(/^refused: /) })
})

test('the model is asked while the files are looked at, and when it refuses, nothing was made or sent', async () => {
  const world = await startWorld()
  const cwd = await makeRepository(world)
  const calls = join(world.directory, 'git-calls')
  mkdirSync(calls)
  const looked = join(calls, 'log')
  // Answers only once the working tree is being looked at.
  const server = createServer(async (_, response) => {
    await eventually('git lists files', () => existsSync(looked) && /^ls-files /m.test(readFileSync(looked, 'utf8')))
    response.writeHead(401).end()
  }).listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  const env = {
    ...world.asAdmin,
    ANTHROPIC_API_KEY: KEY.task,
    ANTHROPIC_BASE_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    PATH: `${gitRecorder(calls)}:${process.env.PATH}`,
  }
  const refused = await world.cli(['run', '--unsandboxed', 'do it'], { cwd, env })
  expect(refused.stderr).toMatch(/refused the credentials \(401\): ANTHROPIC_API_KEY of your environment/)
  expect(refused.code).toBe(EXIT_CODES.internal)
  expect((await world.api().call(routes.listTasks, { query: {} })).tasks).toEqual([])
  expect(readFileSync(looked, 'utf8')).not.toMatch(/^push|send-pack/m)
})

test('the gateway says whether it has credentials without opening any', async () => {
  const { world, model, cli } = await worldWithTeam()
  const add = [
    'model',
    'add',
    'mine',
    '--kind',
    'anthropic',
    '--base-url',
    model.url,
    '--secret',
    'ANTHROPIC_API_KEY=-',
  ]
  expect(await cli(add, {}, KEY.user)).toMatchObject({ code: 0 })
  await world.killGateway('SIGTERM')
  writeFileSync(join(world.data, 'secret.key'), Buffer.alloc(32, 7)) // nothing that is sealed can be opened any more
  await world.startGateway()
  expect((await world.api().call(routes.info)).modelCredentials).toEqual(['claude'])
  expect(await cli(['model', 'check', 'mine'])).toMatchObject({ code: EXIT_CODES.internal, stdout: '' })
})

test("Bedrock and Vertex come from the user's environment as Claude Code reads it, Google's file by its contents", async () => {
  const world = await startWorld()
  const file = join(world.directory, 'google.json')
  writeFileSync(file, '{"type":"service_account"}')
  const add = (name: string, env: Record<string, string>) =>
    world.cli(['model', 'add', name, '--json'], { env: { ...world.asAdmin, ...env } })
  const vertex = await add('google', {
    CLAUDE_CODE_USE_VERTEX: '1',
    CLOUD_ML_REGION: 'europe-west1',
    ANTHROPIC_VERTEX_PROJECT_ID: 'project-1',
    GOOGLE_APPLICATION_CREDENTIALS: file,
  })
  expect(JSON.parse(vertex.stdout).profile).toMatchObject({
    kind: 'vertex',
    region: 'europe-west1',
    project: 'project-1',
    secrets: ['GOOGLE_APPLICATION_CREDENTIALS_JSON'],
  })
  const bedrock = await add('aws', { CLAUDE_CODE_USE_BEDROCK: 'true', AWS_REGION: 'eu-central-1' })
  expect(JSON.parse(bedrock.stdout).profile).toMatchObject({ kind: 'bedrock', region: 'eu-central-1', secrets: [] })
  expect((await add('bad', { CLAUDE_CODE_USE_BEDROCK: '1' })).stderr).toMatch(/AWS_REGION is not: set it/)
  expect((await add('none', {})).stderr).toMatch(/your environment has no way to a model/)
  expect((await add('Odd Name', { ANTHROPIC_API_KEY: 'x' })).stderr).toMatch(/"Odd Name" is no name/)
})

test.each([
  ['a default that there is not', { RCLAUDE_MODELS__DEFAULT: 'nobody' }, /models\.default is "nobody"/],
  [
    'a profile without its variable',
    { RCLAUDE_MODELS__PROFILES__TEAM: '{ kind: oauth, secrets: [CLAUDE_CODE_OAUTH_TOKEN] }' },
    /models\.profiles\.team: CLAUDE_CODE_OAUTH_TOKEN is not in the gateway's environment/,
  ],
  [
    'a profile without a region',
    { RCLAUDE_MODELS__PROFILES__TEAM: '{ kind: bedrock }' },
    /models\.profiles\.team: kind bedrock needs region/,
  ],
])('a gateway with %s does not start, and says why', async (_, settings, message) => {
  const world = new World(settings)
  onTestFinished(() => world.close())
  const { code, stderr } = await world.runGateway()
  expect(code).toBe(78)
  expect(stderr).toMatch(message)
})

test('more model profiles than limits.maxModelProfiles are refused with the key; one that is there can be changed', async () => {
  const world = await startWorld({ settings: { RCLAUDE_LIMITS__MAX_MODEL_PROFILES: '1' } })
  const put = (name: string) =>
    world.api().call(routes.putModel, { params: { name }, body: { kind: 'bedrock', region: 'eu-central-1' } })
  await put('one')
  await put('one')
  await expect(put('two')).rejects.toMatchObject({
    code: 'limit',
    message: expect.stringMatching(/^you have 1 model profiles.*\(limits\.maxModelProfiles\).*rclaude model rm/),
  })
})
