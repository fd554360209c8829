/** `rclaude run --repo` of a private repository, through the CLI, a gateway and an agent, to a real git server. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { routes } from '../../protocol/routes.ts'
import { serveGit } from '../helpers/git-server.ts'
import { startPrivateGit } from '../helpers/private-git.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'
import { startWorld, type World } from '../helpers/world.ts'

const TOKEN = 'canary-of-the-clone-0123456789'
const credential = { user: 'x-access-token', token: TOKEN }

const run = (world: World, args: string[], env: Record<string, string> = {}) =>
  world.cli(args, { env: { ...world.asAdmin, ...env } })

/** Prints its environment and that of its ancestors, and looks for a credential wherever git could have left it. */
const NOSY = [
  'env',
  'cat /proc/$PPID/environ | tr "\\0" "\\n"',
  'cat .git/config',
  'git config --list --show-origin || true',
  'cat README.md',
  'echo changed > README.md',
].join('; ')

test('the work finds the files of a private clone and no trace of its token', async () => {
  const server = await startPrivateGit(credential)
  const world = await startWorld()
  const url = `${server.url}/project.git`
  const done = await run(
    world,
    [
      'run',
      '--unsandboxed',
      '--repo',
      url,
      '--repo-token',
      'TOK',
      '--setup',
      NOSY,
      '--check',
      NOSY,
      '--',
      'sh',
      '-c',
      NOSY,
    ],
    { TOK: TOKEN },
  )
  expect(done).toMatchObject({ code: 0 })
  expect(done.stdout).toContain('third') // the README as it was cloned
  expect(done.stdout).toContain('HOME=') // it did look
  expect(done.stdout + done.stderr).not.toContain(TOKEN)
  expect(done.stdout).not.toContain('***') // nothing had to be masked: it was not there
  const shown = await run(world, ['show', '--json', '@last'])
  expect(shown.stdout).toContain('"user":"x-access-token"')
  expect(shown.stdout).not.toContain(TOKEN)
  expect((await run(world, ['diff', '@last'])).stdout).toContain('+changed')
})

test('a private clone without its token fails with what to do', async () => {
  const server = await startPrivateGit(credential)
  const world = await startWorld()
  const failed = await run(world, ['run', '--unsandboxed', '--repo', `${server.url}/project.git`, '--', 'true'])
  expect(failed.code).not.toBe(0)
  expect(failed.stdout + failed.stderr).toMatch(/\(401\).*--repo-token NAME/)
})

test('retry takes what was cloned, and asks for the token again when nothing was', async () => {
  const server = await startPrivateGit(credential)
  const world = await startWorld()
  const url = `${server.url}/project.git`
  const args = ['run', '--unsandboxed', '--repo', url, '--repo-token', 'TOK', '--', 'cat', 'README.md']
  expect(await run(world, args, { TOK: TOKEN })).toMatchObject({ code: 0 })
  server.answers.set('/', { status: 500 }) // from now on it has nothing to say
  const asked = server.asked.length
  const again = await run(world, ['retry', '@last', '--unsandboxed'])
  expect(again).toMatchObject({ code: 0 })
  expect(again.stdout).toContain('third')
  expect(server.asked).toHaveLength(asked)

  expect((await run(world, args, { TOK: TOKEN })).code).not.toBe(0)
  const { tasks } = await world.api().call(routes.listTasks, { query: { limit: 1 } })
  const last = tasks[0]?.id ?? ''
  const refused = await run(world, ['retry', last, '--unsandboxed'])
  expect(refused.stderr).toMatch(/never got its clone of .* the token for it was deleted.*--repo-token NAME/)
  server.answers.clear()
  const helped = await run(world, ['retry', last, '--unsandboxed', '--repo-token', 'TOK'], { TOK: TOKEN })
  expect(helped).toMatchObject({ code: 0 })
  expect(helped.stdout).toContain('third')
})

test('a token that was not delivered is sealed, and gone from the gateway afterwards', async () => {
  const server = await startPrivateGit(credential)
  const world = await startWorld({ settings: { RCLAUDE_LIMITS__MAX_TASKS: '1' } })
  await world.createTask({ agent: 'command', command: ['sleep', '2'], workspace: { kind: 'none' } })
  const { id } = await world.createTask({
    agent: 'command',
    command: ['cat', 'README.md'],
    workspace: { kind: 'repo', url: `${server.url}/project.git`, user: credential.user },
    repoToken: TOKEN,
  })
  const database = () => ['gateway.db', 'gateway.db-wal'].map((name) => readFileSync(join(world.data, name), 'latin1'))
  expect((await world.getTask(id)).state).toBe('queued')
  expect(database().join('')).not.toContain(TOKEN)
  expect(await world.ended(id)).toMatchObject({ outcome: 'succeeded' })
  expect(world.gatewayLog).not.toContain(TOKEN)
})

test('submodules are named as left out, and come with the set-up that the message names', async () => {
  const root = temporaryDirectory()
  const git = (...args: string[]) =>
    execFileSync(
      'git',
      ['-c', 'user.name=U', '-c', 'user.email=u@example.org', '-c', 'protocol.file.allow=always', ...args],
      {
        cwd: root,
        stdio: 'pipe',
      },
    )
  const url = await serveGit(root)
  for (const name of ['part', 'whole']) {
    git('init', '-qb', 'main', `${name}.git`)
    git('-C', `${name}.git`, 'commit', '-q', '--allow-empty', '-m', name)
  }
  execFileSync('sh', ['-c', 'echo from the part > part.git/part.txt'], { cwd: root })
  git('-C', 'part.git', 'add', '.')
  git('-C', 'part.git', 'commit', '-qm', 'file')
  git('-C', 'whole.git', 'submodule', '--quiet', 'add', join(root, 'part.git'), 'lib/part')
  git('-C', 'whole.git', 'config', '-f', '.gitmodules', 'submodule.lib/part.url', `${url}/part.git`)
  git('-C', 'whole.git', 'commit', '-qam', 'with a submodule')
  const world = await startWorld()
  const args = ['run', '--unsandboxed', '--repo', `${url}/whole.git`]
  const without = await run(world, [...args, '--', 'ls', 'lib/part'])
  expect(without.stdout + without.stderr).toContain('--setup "git submodule update --init"')
  expect(without.stdout).not.toContain('part.txt')
  const done = await run(world, [...args, '--setup', 'git submodule update --init', '--', 'cat', 'lib/part/part.txt'])
  expect(done).toMatchObject({ code: 0 })
  expect(done.stdout).toContain('from the part')
})
