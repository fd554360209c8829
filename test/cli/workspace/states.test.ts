/** Repositories in unusual states: a snapshot of each, sent, worked on and applied. */
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { applyTask } from '../../../cli/workspace/apply.ts'
import { pushSnapshot } from '../../../cli/workspace/push.ts'
import { takeSnapshot } from '../../../cli/workspace/snapshot.ts'
import { gitIn, repository, startGitGateway, temporary } from '../../gateway/workspaces/git-gateway.ts'
import { prepareAgent } from '../../helpers/workspace-agent.ts'

/** Two commits; `file` and `dir/file` are tracked. */
function project() {
  const user = repository()
  const commit = (text: string) => {
    writeFileSync(join(user.path, 'file'), `${text}\n`)
    user.git('add', '.')
    user.git('commit', '-q', '-m', text)
  }
  commit('one')
  commit('two')
  return { ...user, commit }
}

/** Sends the folder with something uncommitted, lets an agent add a file, and applies that. */
async function roundTrip(path: string) {
  const git = gitIn(path)
  writeFileSync(join(path, 'uncommitted'), 'mine\n')
  const before = git('status', '--porcelain=v2', '--branch')
  const gateway = await startGitGateway()
  await using snapshot = await takeSnapshot(path)
  const task = await gateway.newTask({ objectFormat: snapshot.objectFormat })
  await pushSnapshot(snapshot, task)
  await gateway.workspaces.seal(task.id)
  const agent = await prepareAgent(gateway, task.id)
  expect(agent.git('status', '--porcelain')).toBe('')
  expect(agent.git('ls-files')).toContain('uncommitted')
  writeFileSync(join(agent.work, 'made'), 'by the agent\n')
  await agent.save()
  expect(git('status', '--porcelain=v2', '--branch')).toBe(before)
  expect(await applyTask(path, task)).toMatchObject({ status: 'applied', files: [{ path: 'made', status: 'A' }] })
  expect(git('status', '--porcelain=v2', '--branch')).toBe(
    `${before.replace(/\? uncommitted$/, '? made\n? uncommitted')}`,
  )
  return { agent, snapshot, warnings: snapshot.warnings }
}

test('a detached HEAD', async () => {
  const { path, git } = project()
  git('checkout', '-q', 'HEAD~1')
  const { agent } = await roundTrip(path)
  expect(agent.git('log', '--format=%s')).toBe('Snapshot of the working tree\none')
})

test('the middle of a rebase, and of a merge whose conflicts are resolved', async () => {
  const { path, git, commit } = project()
  git('checkout', '-q', '-b', 'side', 'HEAD~1')
  commit('side')
  expect(() => git('rebase', '-q', 'main')).toThrow()
  await expect(takeSnapshot(path)).rejects.toThrow(/1 unresolved merge conflict \(file\)/)
  writeFileSync(join(path, 'file'), 'resolved\n')
  git('add', 'file')
  const { agent } = await roundTrip(path)
  expect(agent.git('show', 'HEAD:file')).toBe('resolved')
  git('rebase', '--abort')
  expect(() => git('merge', '-q', 'main')).toThrow()
  git('checkout', '-q', '--theirs', 'file')
  git('add', 'file')
  rmSync(join(path, 'made'))
  expect((await roundTrip(path)).agent.git('show', 'HEAD:file')).toBe('two')
  expect(git('rev-parse', 'MERGE_HEAD')).toBe(git('rev-parse', 'main'))
})

/** A clone without blobs but those that are checked out, whose origin is gone. */
function partialClone(...options: string[]): { path: string; origin: string; gone: string } {
  const origin = project()
  origin.commit('three')
  origin.git('config', 'uploadpack.allowFilter', 'true')
  const path = join(temporary('clone'), 'partial')
  const aside = temporary('aside')
  origin.git('clone', '-q', '--filter=blob:none', ...options, `file://${origin.path}`, path)
  renameSync(origin.path, join(aside, 'gone'))
  return { path, origin: origin.path, gone: join(aside, 'gone') }
}

test('a partial clone whose origin is gone, with its newest commit as history', async () => {
  const { path } = partialClone()
  const { agent } = await roundTrip(path)
  expect(agent.git('log', '--format=%s')).toBe('Snapshot of the working tree\nthree')
})

test('a partial clone that lacks files of its own HEAD is refused, and says what to fetch', async () => {
  const { path, origin, gone } = partialClone('--no-checkout')
  gitIn(path)('read-tree', 'HEAD')
  gitIn(path)('update-index', '--skip-worktree', 'file')
  await expect(roundTrip(path)).rejects.toThrow(
    /is a partial clone that lacks 1 file of its HEAD; git -C .* archive HEAD/,
  )
  renameSync(gone, origin)
  gitIn(path)('archive', '-o', join(temporary('archive'), 'a.tar'), 'HEAD')
  rmSync(origin, { recursive: true })
  expect((await roundTrip(path)).agent.git('show', 'HEAD:file')).toBe('three')
})

test('a linked worktree with a submodule', async () => {
  const library = project()
  const { git } = project()
  git('-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', library.path, 'lib')
  git('commit', '-q', '-m', 'lib')
  const tree = join(temporary('tree'), 'wt')
  git('worktree', 'add', '-q', tree, '-b', 'other')
  gitIn(tree)('-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'update', '--init')
  const { agent, warnings } = await roundTrip(tree)
  expect(warnings).toEqual([])
  expect(gitIn(join(agent.work, 'lib'))('log', '--format=%s')).toBe('two\none')
})

test('settings for submodules, which git would follow into them', async () => {
  const library = project()
  const { path, git } = project()
  git('-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', library.path, 'lib')
  git('commit', '-q', '-m', 'lib')
  for (const [key, value] of [
    ['submodule.recurse', 'true'],
    ['push.recurseSubmodules', 'only'],
    ['fetch.recurseSubmodules', 'true'],
    ['diff.ignoreSubmodules', 'all'],
    ['submodule.lib.ignore', 'all'],
  ] as const)
    git('config', key, value)
  writeFileSync(join(path, 'lib', 'file'), 'dirty\n')
  const { agent, snapshot } = await roundTrip(path)
  expect(snapshot.dirty).toBe(true)
  expect(gitIn(join(agent.work, 'lib'))('show', 'HEAD:file')).toBe('dirty')
})
