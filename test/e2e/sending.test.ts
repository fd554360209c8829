/** What `run` says and asks before it sends anything, and what a project's own file adds: as a user has it. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import { makeRepository } from '../helpers/repository.ts'
import { git, startWorld, type World } from '../helpers/world.ts'

const rclaude = (world: World, cwd: string, args: string[], env: Record<string, string> = {}) =>
  world.cli(args, { cwd, env: { ...world.asAdmin, ...env } })

const noTasks = async (world: World) =>
  expect((await world.api().call(routes.listTasks, { query: {} })).tasks).toEqual([])

test('a file that looks secret is not sent where nobody can be asked; --exclude, --yes or .gitignore decide', async () => {
  const world = await startWorld()
  const folder = await makeRepository(world)
  writeFileSync(join(folder, '.env'), 'TOKEN=canary')
  const run = (...args: string[]) => rclaude(world, folder, ['run', '--unsandboxed', ...args, '--', 'ls', '-A'])

  const refused = await run()
  expect(refused.code).toBe(EXIT_CODES.usage)
  expect(refused.stderr).toMatch(/\.env: variables of an environment.*--yes.*--exclude.*--dry-run.*nothing was sent/)
  await noTasks(world)

  const without = await run('--exclude', '.env')
  expect(without, without.stderr).toMatchObject({ code: 0 })
  expect(without.stdout).not.toMatch(/^\.env$/m)
  const withIt = await run('--yes')
  expect(withIt, withIt.stderr).toMatchObject({ code: 0 })
  expect(withIt.stdout).toMatch(/^\.env$/m)
  writeFileSync(join(folder, '.gitignore'), '.env\n')
  const ignored = await run()
  expect(ignored, ignored.stderr).toMatchObject({ code: 0 })
  expect(ignored.stdout).not.toMatch(/^\.env$/m)
})

test('on a terminal it is asked: no sends nothing, yes sends it', async () => {
  const world = await startWorld()
  const folder = await makeRepository(world)
  writeFileSync(join(folder, 'id_ed25519'), 'key')
  const answer = (type: string) =>
    world.startOnTerminal(['run', '--unsandboxed', '--', 'true'], {
      cwd: folder,
      env: world.asAdmin,
      script: [{ when: 'Send it?', type }],
    })
  const no = await answer('n')
  expect(no.code).toBe(EXIT_CODES.usage)
  expect(no.stdout).toMatch(/id_ed25519 may hold a private key/)
  expect(no.stdout).toMatch(/nothing was sent/)
  await noTasks(world)
  expect((await answer('y')).code).toBe(0)
}, 60_000)

test('much is asked about once: what was sent before, or agreed to, is not asked about again', async () => {
  const world = await startWorld()
  const folder = await makeRepository(world)
  const random = () => Array.from({ length: 30_000 }, () => Math.random().toString(36)).join('')
  writeFileSync(join(folder, 'committed.txt'), random())
  await git(folder, 'add', 'committed.txt')
  await git(folder, 'commit', '-qm', 'large')
  writeFileSync(join(folder, 'untracked.txt'), random())
  const run = (...args: string[]) =>
    rclaude(world, folder, ['run', '--unsandboxed', ...args, '--', 'true'], { RCLAUDE_ASK_ABOVE: '300KiB' })

  const refused = await run()
  expect(refused.code).toBe(EXIT_CODES.usage)
  expect(refused.stderr).toMatch(/^rclaude: \d+\.\d KiB would be sent: say --yes/)
  const agreed = await run('--yes')
  expect(agreed, agreed.stderr).toMatchObject({ code: 0 })
  expect(agreed.stdout).toMatch(/✓ snapshot \w+ with your uncommitted changes: 4 files, [\d.]+ KiB/)
  const again = await run()
  expect(again, again.stderr).toMatchObject({ code: 0 })
  writeFileSync(join(folder, 'more.txt'), random() + random())
  expect((await run()).code).toBe(EXIT_CODES.usage)
  expect((await run('--exclude', 'more.txt')).code).toBe(0)

  const odd = await rclaude(world, folder, ['run', '--unsandboxed', '--', 'true'], { RCLAUDE_ASK_ABOVE: 'much' })
  expect(odd).toMatchObject({ code: EXIT_CODES.usage, stderr: expect.stringMatching(/RCLAUDE_ASK_ABOVE=much/) })
}, 60_000)

test('--dry-run says what would go, and starts, sends and launches nothing', async () => {
  const world = await startWorld()
  const folder = await makeRepository(world)
  writeFileSync(join(folder, '.rclaude.yaml'), 'check: npm test\nexclude: [out/]\nlimits: { timeout: 10m }\n')
  writeFileSync(join(folder, 'server.pem'), '-----BEGIN RSA PRIVATE KEY-----\n')
  mkdirSync(join(folder, 'out'))
  writeFileSync(join(folder, 'out', 'x'), 'x')
  const people = await rclaude(world, folder, ['run', '--dry-run'])
  expect(people, people.stderr).toMatchObject({ code: 0 })
  expect(people.stdout).toMatch(/check +npm test\nlimits +10m 00s\nto send +4 files/)
  expect(people.stdout).toMatch(/^ {2}\? notes\.txt$/m)
  expect(people.stdout).toMatch(/server\.pem may hold a private key/)
  expect(people.stdout).not.toContain('out/')
  await noTasks(world)

  // Where there is no gateway at all, too.
  const { RCLAUDE_GATEWAY: _, ...env } = world.asAdmin
  const programs = await world.cli(['run', '--dry-run', '--json', '--exclude', '*.txt'], { cwd: folder, env })
  expect(JSON.parse(programs.stdout)).toMatchObject({
    type: 'dry_run',
    files: 3,
    untracked: [{ path: '.rclaude.yaml' }, { path: 'server.pem', bytes: 32 }],
    secrets: [{ path: 'server.pem', why: 'a private key' }],
    settings: { check: 'npm test' },
  })
  for (const args of [['--repo', 'https://example.org/x.git'], ['--no-workspace']])
    expect((await rclaude(world, folder, ['run', '--dry-run', ...args])).code).toBe(EXIT_CODES.usage)
})

test('an ignored file that is included travels, is changed, and comes back by apply', async () => {
  const world = await startWorld()
  const folder = await makeRepository(world)
  writeFileSync(join(folder, '.gitignore'), 'local.json\nother.json\n')
  writeFileSync(join(folder, 'local.json'), '{"a":1}\n')
  writeFileSync(join(folder, 'other.json'), 'stays here\n')
  writeFileSync(join(folder, '.rclaude.yaml'), 'include: local.json\n')
  const ran = await rclaude(world, folder, ['run', '--unsandboxed', '--', 'sh', '-c', 'ls; echo "{}" > local.json'])
  expect(ran, ran.stderr).toMatchObject({ code: 0 })
  expect(ran.stdout).toContain(`using ${join(folder, '.rclaude.yaml')}`)
  expect(ran.stdout).not.toContain('other.json')
  const applied = await rclaude(world, folder, ['apply', '@last'])
  expect(applied, applied.stderr).toMatchObject({ code: 0 })
  expect(readFileSync(join(folder, 'local.json'), 'utf8')).toBe('{}\n')
  expect(readFileSync(join(folder, 'other.json'), 'utf8')).toBe('stays here\n')
  expect(await git(folder, 'ls-files', 'local.json')).toBe('')
})

test("a project's file sets up its tasks, within the gateway's limits, and is left aside when that is said", async () => {
  const world = await startWorld({ settings: { RCLAUDE_LIMITS__TASK_TIMEOUT: '4s' } })
  const folder = await makeRepository(world)
  writeFileSync(
    join(folder, '.rclaude.yaml'),
    'setup: echo "$GREETING" > made-by-setup\nenv: { GREETING: hello }\nlimits: { timeout: 1h }\n',
  )
  const run = (...args: string[]) => rclaude(world, folder, ['run', '--unsandboxed', ...args])
  const ran = await run('--', 'cat', 'made-by-setup')
  expect(ran, ran.stderr).toMatchObject({ code: 0 })
  expect(ran.stdout).toMatch(/^hello$/m)
  expect((await run('-e', 'GREETING=mine', '--', 'cat', 'made-by-setup')).stdout).toMatch(/^mine$/m)
  expect((await run('--no-project-file', '--', 'ls')).stdout).not.toContain('made-by-setup')
  expect((await run('--', 'sleep', '30')).code).toBe(EXIT_CODES.timeout)

  writeFileSync(join(folder, '.rclaude.yaml'), 'setup: exit 7\nimage: example.org/x\n')
  const failed = await run('--', 'echo', 'never')
  expect(failed.code).toBe(EXIT_CODES.failed)
  expect(failed.stdout).toMatch(/image of .*\.rclaude\.yaml is left aside/)
  expect(failed.stdout).not.toMatch(/^never$/m)

  const asked = await run('--image', 'example.org/x', '--', 'echo', 'never')
  expect(asked.code).toBe(EXIT_CODES.usage)
  expect(asked.stderr).toContain('launcher "process" takes no --image: its tasks run in no container')
}, 60_000)

test('init writes a file that suits the project, once', async () => {
  const world = await startWorld()
  const folder = await makeRepository(world)
  writeFileSync(join(folder, 'package.json'), '{"scripts":{"test":"node --test"}}')
  const env = { ...world.asAdmin, ANTHROPIC_API_KEY: 'sk-ant-test-0123456789abcdef' }
  mkdirSync(join(folder, 'sub'))
  const init = (...args: string[]) => world.cli(['init', '--unsandboxed', ...args], { cwd: join(folder, 'sub'), env })
  expect((await init('--no-project-file')).stdout).not.toContain('.rclaude.yaml')
  expect((await init()).stdout).toMatch(/wrote .*project\/\.rclaude\.yaml \(setup: npm install, check: npm test\)/)
  writeFileSync(join(folder, '.rclaude.yaml'), 'check: mine\n')
  const again = await init()
  expect(again.stdout).not.toContain('wrote')
  expect(readFileSync(join(folder, '.rclaude.yaml'), 'utf8')).toBe('check: mine\n')
  writeFileSync(join(folder, '.rclaude.yaml'), 'chekc: mine\n')
  expect(await init()).toMatchObject({ code: 1, stdout: expect.stringMatching(/Unrecognized key: "chekc"/) })
})
