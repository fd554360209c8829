/** `rclaude::TASK` as a git remote: the live workspace of a running task, by git's own commands. */
import { execFile } from 'node:child_process'
import { appendFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { parseAddress } from '../../cli/commands/git-remote.ts'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { startWorld, git as succeeds, type World } from '../helpers/world.ts'

interface Ran {
  code: number
  stdout: string
  stderr: string
}

function gitOf(world: World) {
  const programs = join(world.directory, 'bin')
  mkdirSync(programs)
  symlinkSync(resolve('dist/git-remote-rclaude.js'), join(programs, 'git-remote-rclaude'))
  const user = world.userEnvironment()
  const env = { ...user, ...world.asAdmin, PATH: `${programs}:${user.PATH}`, GIT_TERMINAL_PROMPT: '0' }
  return (cwd: string, ...args: string[]): Promise<Ran> =>
    new Promise((done) =>
      execFile('git', args, { cwd, env, timeout: 60_000 }, (error, stdout, stderr) =>
        done({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
      ),
    )
}

/** A repository whose task has committed on a branch of its own, and is kept. */
async function keptTask() {
  const world = await startWorld()
  stopTasksAfterwards(world)
  const folder = join(world.directory, 'project')
  mkdirSync(folder)
  await succeeds(folder, 'init', '-q', '-b', 'main')
  for (const setting of ['user.name', 'user.email']) await succeeds(folder, 'config', setting, 'me@example.org')
  writeFileSync(join(folder, 'a.txt'), 'one\n')
  await succeeds(folder, 'add', '.')
  await succeeds(folder, 'commit', '-q', '-m', 'first')
  const work =
    'git switch -q -c idea && echo two >> a.txt && git -c user.name=t -c user.email=t@t commit -qam "in the task"'
  const args = ['run', '--unsandboxed', '--keep', '10m', '--json', '--', 'sh', '-c', work]
  const ran = await world.cli(args, { cwd: folder, env: world.asAdmin })
  expect(ran.stderr).toBe('')
  const task = (/task_[a-z0-9]{12}/.exec(ran.stdout) ?? [''])[0]
  return { world, folder, task, git: gitOf(world) }
}

test('fetch and push go to and from the live workspace of a task', async () => {
  const { world, folder, task, git } = await keptTask()
  expect(await git(folder, 'fetch', '-q', `rclaude::${task}`, 'idea')).toEqual({ code: 0, stdout: '', stderr: '' })
  expect((await git(folder, 'log', '-1', '--format=%s', 'FETCH_HEAD')).stdout).toBe('in the task\n')
  expect((await git(folder, 'show', 'FETCH_HEAD:a.txt')).stdout).toBe('one\ntwo\n')

  appendFileSync(join(folder, 'a.txt'), 'mine\n')
  await git(folder, 'commit', '-qam', 'at home')
  expect((await git(folder, 'remote', 'add', 'task', 'rclaude::@last')).code).toBe(0)
  const pushed = await git(folder, 'push', '-q', 'task', 'HEAD:refs/heads/from-home')
  expect(pushed).toMatchObject({ code: 0 })
  const seen = await world.cli(['exec', task, '--', 'git', 'log', '-1', '--format=%s', 'from-home'], {
    env: world.asAdmin,
  })
  expect(seen.stdout).toBe('at home\n')

  const current = await git(folder, 'push', '-f', 'task', 'HEAD:refs/heads/idea')
  expect(current.code).not.toBe(0)
  expect(current.stderr).toMatch(/refusing to update checked out branch/)

  const clone = join(world.directory, 'clone')
  expect((await git(world.directory, 'clone', '-q', '-b', 'from-home', `rclaude://${task}`, clone)).code).toBe(0)
  expect(readFileSync(join(clone, 'a.txt'), 'utf8')).toBe('one\nmine\n')
}, 90_000)

test('what cannot be is said, and git ends with it', async () => {
  const { world, folder, task, git } = await keptTask()
  const none = await git(folder, 'fetch', 'rclaude::zzzzzz')
  expect(none.code).not.toBe(0)
  expect(none.stderr).toContain('rclaude: no task begins with "zzzzzz"')
  const outside = await git(folder, 'fetch', `rclaude::${task}:..`)
  expect(outside.stderr).toContain('is outside the workspace')

  const bare = await world.createTask({ agent: 'command', command: ['sleep', '600'], workspace: { kind: 'none' } })
  await world.state(bare.id, 'running')
  const noRepository = await git(folder, 'fetch', `rclaude::${bare.id}`)
  expect(noRepository.code).not.toBe(0)
  expect(noRepository.stderr).toMatch(/'\.' does not appear to be a git repository/)

  await world.cli(['stop', task], { env: world.asAdmin })
  await world.ended(task)
  const late = await git(folder, 'fetch', `rclaude::${task}`)
  expect(late.code).not.toBe(0)
  expect(late.stderr).toMatch(/ended at .*its machine is gone/)
}, 90_000)

test.each([
  ['k3m', { name: 'k3m', folder: undefined }],
  ['@last', { name: '@last', folder: undefined }],
  ['rclaude://k3m/', { name: 'k3m', folder: undefined }],
  ['k3m:vendor/lib', { name: 'k3m', folder: 'vendor/lib' }],
  ['k3m:', { name: 'k3m', folder: undefined }],
])('the address %s is read', (address, parsed) => {
  expect(parseAddress(address)).toEqual(parsed)
})
