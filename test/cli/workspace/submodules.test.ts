import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { applyTask } from '../../../cli/workspace/apply.ts'
import { pullTask } from '../../../cli/workspace/pull.ts'
import { pushSnapshot } from '../../../cli/workspace/push.ts'
import { takeSnapshot } from '../../../cli/workspace/snapshot.ts'
import type { TaskId } from '../../../protocol/ids.ts'
import { REFS } from '../../../protocol/run.ts'
import { type GitGateway, gitIn, repository, startGitGateway, temporary } from '../../gateway/workspaces/git-gateway.ts'
import { sendSnapshot } from '../../helpers/sent-snapshot.ts'
import { prepareAgent } from '../../helpers/workspace-agent.ts'

const read = (...path: string[]) => readFileSync(join(...path), 'utf8')
const write = (text: string, ...path: string[]) => writeFileSync(join(...path), text)

function addSubmodule(to: ReturnType<typeof repository>, from: { path: string }, at: string): void {
  to.git('-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', from.path, at)
  to.git('commit', '-q', '-m', `submodule ${at}`)
}

/** A superproject with `libs/a`, in which lies `deep/b`; each has a committed file and history. */
function project(...initArgs: string[]) {
  const inner = repository(...initArgs)
  write('b\n', inner.path, 'b.txt')
  inner.git('add', '.')
  inner.git('commit', '-q', '-m', 'b')
  const middle = repository(...initArgs)
  write('a\n', middle.path, 'a.txt')
  write('*.log\n', middle.path, '.gitignore')
  middle.git('add', '.')
  middle.git('commit', '-q', '-m', 'a first')
  middle.git('commit', '-q', '--allow-empty', '-m', 'a second')
  addSubmodule(middle, inner, 'deep/b')
  const top = repository(...initArgs)
  write('top\n', top.path, 'top.txt')
  write('*.txt text\n*.out\n', top.path, '.gitattributes')
  write('*.tmp\n', top.path, '.gitignore')
  top.git('add', '.')
  top.git('commit', '-q', '-m', 'top')
  addSubmodule(top, middle, 'libs/a')
  top.git('-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'update', '--init', '--recursive')
  const [a, b] = [join(top.path, 'libs/a'), join(top.path, 'libs/a/deep/b')]
  return { ...top, a, b, inA: gitIn(a), inB: gitIn(b) }
}

async function agentFor(gateway: GitGateway, taskId: TaskId, checkout?: string) {
  const agent = await prepareAgent(gateway, taskId, checkout)
  return { ...agent, inA: gitIn(join(agent.work, 'libs/a')), inB: gitIn(join(agent.work, 'libs/a/deep/b')) }
}

async function send(path: string, depth = 50) {
  const { gateway, task, dirty, warnings } = await sendSnapshot(path, depth)
  return { gateway, task, dirty, warnings, agent: await agentFor(gateway, task.id) }
}

describe('submodules', () => {
  test.each([['sha1'], ['sha256']])(
    'arrive as repositories with uncommitted and unpushed work (%s)',
    async (format) => {
      const user = project(`--object-format=${format}`)
      expect((await takeSnapshot(user.path)).dirty).toBe(false)
      write('unpushed\n', user.a, 'unpushed.txt')
      user.inA('add', '.')
      user.inA('commit', '-q', '-m', 'unpushed')
      write('dirty\n', user.a, 'a.txt')
      write('new\n', user.b, 'new.txt')
      write('no\n', user.a, 'x.log')
      const status = user.git('status', '--porcelain=v2')
      const { agent, dirty, warnings } = await send(user.path)
      expect({ dirty, warnings }).toEqual({ dirty: true, warnings: [] })
      expect(user.git('status', '--porcelain=v2')).toBe(status)
      for (const git of [agent.git, agent.inA, agent.inB]) expect(git('status', '--porcelain')).toBe('')
      expect(agent.inA('log', '--format=%s')).toBe(
        'Snapshot of the working tree\nunpushed\nsubmodule deep/b\na second\na first',
      )
      expect(agent.inB('log', '--format=%s')).toBe('Snapshot of the working tree\nb')
      expect(read(agent.work, 'libs/a/a.txt')).toBe('dirty\n')
      expect(read(agent.work, 'libs/a/deep/b/new.txt')).toBe('new\n')
      expect(existsSync(join(agent.work, 'libs/a/x.log'))).toBe(false)
      expect(agent.git('submodule', 'status', '--recursive')).toMatch(/^ \w+ libs\/a .*\n \w+ libs\/a\/deep\/b /)
    },
  )

  test('come back changed, each onto its own working tree, dirty or not', async () => {
    const user = project()
    write('mine\n', user.a, 'mine.txt')
    const { agent, task, gateway } = await send(user.path)
    write('top changed\n', agent.work, 'top.txt')
    write('a changed\n', agent.work, 'libs/a/a.txt')
    agent.inA('commit', '-q', '-am', 'the coding agent commits')
    write('kept although the superproject ignores it\n', agent.work, 'libs/a/x.tmp')
    rmSync(join(agent.work, 'libs/a/deep/b/b.txt'))
    write('b new\n', agent.work, 'libs/a/deep/b/b2.txt')
    await agent.save()
    write('meanwhile\n', user.b, 'meanwhile.txt')
    const heads = [user.git, user.inA, user.inB].map((git) => git('rev-parse', 'HEAD'))
    const dry = await applyTask(user.path, task, { check: true })
    expect(user.inA('status', '--porcelain')).toBe(' M deep/b\n?? mine.txt')
    const applied = await applyTask(user.path, task)
    expect(applied.files).toEqual(dry.files)
    expect(applied).toMatchObject({ status: 'applied', warnings: [], conflicts: [] })
    expect(applied.files).toEqual([
      { path: 'top.txt', status: 'M' },
      { path: 'libs/a/a.txt', status: 'M', submodule: 'libs/a' },
      { path: 'libs/a/x.tmp', status: 'A', submodule: 'libs/a' },
      { path: 'libs/a/deep/b/b.txt', status: 'D', submodule: 'libs/a/deep/b' },
      { path: 'libs/a/deep/b/b2.txt', status: 'A', submodule: 'libs/a/deep/b' },
    ])
    expect([user.git, user.inA, user.inB].map((git) => git('rev-parse', 'HEAD'))).toEqual(heads)
    expect(user.inA('status', '--porcelain')).toBe(' M a.txt\n M deep/b\n?? mine.txt\n?? x.tmp')
    expect(user.inB('status', '--porcelain')).toBe(' D b.txt\n?? b2.txt\n?? meanwhile.txt')
    expect(await applyTask(user.path, task)).toMatchObject({ status: 'already_applied' })

    const patch = async (submodule?: string) => {
      const range = { from: REFS.snapshot, to: REFS.result, submodule }
      return (await (await gateway.workspaces.diff(task.id, range)).toArray()).join('')
    }
    expect((await patch()).split('\n').filter((line) => /^(diff|Submodule)/.test(line))).toEqual([
      'diff --git a/top.txt b/top.txt',
      'Submodule libs/a:',
      'diff --git a/libs/a/a.txt b/libs/a/a.txt',
      'diff --git a/libs/a/x.tmp b/libs/a/x.tmp',
      'Submodule libs/a/deep/b:',
      'diff --git a/libs/a/deep/b/b.txt b/libs/a/deep/b/b.txt',
      'diff --git a/libs/a/deep/b/b2.txt b/libs/a/deep/b/b2.txt',
    ])
    expect(await patch('libs/a/')).toMatch(/^diff --git a\/a.txt b\/a.txt\n(.*\n)*diff --git a\/x.tmp b\/x.tmp\n/)
    expect(await patch('.')).not.toContain('libs/a')
    await expect(patch('libs')).rejects.toThrow(/no submodule libs; it has libs\/a, libs\/a\/deep\/b/)
    for (const git of [user.git, user.inA, user.inB]) git('stash', '-u', '-q')
    execFileSync('git', ['apply', '-'], { cwd: user.path, input: await patch() })
    expect(read(user.b, 'b2.txt')).toBe('b new\n')
  })

  test('come back as branches whose commits name each other', async () => {
    const user = project()
    write('mine\n', user.a, 'mine.txt')
    const { agent, task } = await send(user.path)
    write('b changed\n', agent.work, 'libs/a/deep/b/b.txt')
    await agent.save()
    const branch = `rclaude/${task.taskId}`
    const before = user.git('status', '--porcelain')
    expect(await pullTask(user.path, task)).toMatchObject({
      status: 'created',
      submodules: [
        { path: 'libs/a/deep/b', status: 'created' },
        { path: 'libs/a', status: 'created' },
      ],
    })
    expect(await pullTask(user.path, task)).toMatchObject({ status: 'unchanged' })
    expect(user.git('status', '--porcelain')).toBe(before)
    expect(user.git('rev-parse', `${branch}:libs/a`)).toBe(user.inA('rev-parse', branch))
    expect(user.inA('rev-parse', `${branch}:deep/b`)).toBe(user.inB('rev-parse', branch))
    expect(user.inB('show', `${branch}:b.txt`)).toBe('b changed')
    expect(user.inA('log', '--format=%s', branch)).toBe(
      'Fix it\nSnapshot of the working tree\nsubmodule deep/b\na second\na first',
    )
    expect(user.git('log', '--format=%s', branch)).toBe('Fix it\nsubmodule libs/a\ntop')
    for (const git of [user.git, user.inA, user.inB]) expect(git('fsck', '--full', '--strict')).toBe('')
    rmSync(join(user.a, 'mine.txt'))
    user.inA('checkout', '-q', branch)
    await expect(pullTask(user.path, task)).rejects.toThrow(/is checked out in .*libs\/a/)
  })

  test('go on from an earlier result, and a retry has them too', async () => {
    const user = project()
    const { agent, task, gateway } = await send(user.path)
    write('one\n', agent.work, 'libs/a/one.txt')
    const first = await agent.save()
    const again = await agentFor(gateway, task.id, first)
    expect(again.inA('status', '--porcelain')).toBe('')
    expect(again.git('status', '--porcelain')).toBe('')
    write('two\n', again.work, 'libs/a/deep/b/two.txt')
    await again.save()
    expect((await applyTask(user.path, task, { check: true })).files.map(({ path }) => path)).toEqual([
      'libs/a/one.txt',
      'libs/a/deep/b/two.txt',
    ])
    const retry = await gateway.newTask()
    await gateway.workspaces.copyFrom(retry.id, task.id, [REFS.snapshot, REFS.base, REFS.parts])
    await gateway.workspaces.seal(retry.id)
    expect((await agentFor(gateway, retry.id)).inB('log', '--format=%s')).toBe('b')
  })

  test('bring a bounded history, and come home all the same', async () => {
    const user = project()
    write('dirty\n', user.a, 'a.txt')
    const { agent, task } = await send(user.path, 1)
    expect(agent.git('log', '--format=%s')).toBe('Snapshot of the working tree\nsubmodule libs/a')
    expect(agent.inA('log', '--format=%s')).toBe('Snapshot of the working tree\nsubmodule deep/b')
    expect(agent.inB('log', '--format=%s')).toBe('b')
    write('dirty\nmore\n', agent.work, 'libs/a/a.txt')
    await agent.save()
    await pullTask(user.path, task)
    expect(user.inA('rev-list', '--count', `rclaude/${task.taskId}`)).toBe('5')
    for (const git of [user.git, user.inA]) expect(git('fsck', '--full', '--strict')).toBe('')
    expect(await applyTask(user.path, task)).toMatchObject({ status: 'applied' })
  })

  test('that are not initialised stay a commit’s name, with a warning', async () => {
    const user = project()
    user.git('submodule', '--quiet', 'deinit', '-f', 'libs/a')
    const { warnings, agent, task, dirty } = await send(user.path)
    expect(warnings).toEqual([expect.stringMatching(/^libs\/a is a submodule that is not initialised here/)])
    expect(dirty).toBe(false)
    expect(agent.git('ls-files', '-s', 'libs/a')).toMatch(/^160000/)
    write('x\n', agent.work, 'top.txt')
    await agent.save()
    expect((await applyTask(user.path, task)).files).toEqual([{ path: 'top.txt', status: 'M' }])
  })

  test('survive a deleted .git, a deleted folder and a link in their place', async () => {
    const user = project()
    const { agent, task } = await send(user.path)
    rmSync(join(agent.work, 'libs/a/.git'), { recursive: true })
    rmSync(join(agent.work, 'libs/a/deep/b'), { recursive: true })
    write('a\nmore\n', agent.work, 'libs/a/a.txt')
    await agent.save()
    const applied = await applyTask(user.path, task)
    expect(applied.files).toEqual([{ path: 'libs/a/a.txt', status: 'M', submodule: 'libs/a' }])
    expect(applied.warnings).toEqual([
      expect.stringMatching(/removed submodule libs\/a\/deep\/b, which was left as it is/),
    ])
    expect(read(user.b, 'b.txt')).toBe('b\n')
    const outside = temporary('outside')
    mkdirSync(join(outside, 'deep'))
    write('secret\n', outside, 'secret.txt')
    rmSync(join(agent.work, 'libs/a'), { recursive: true })
    symlinkSync(outside, join(agent.work, 'libs/a'))
    await agent.save()
    expect(gitIn(task.repository)('ls-tree', REFS.result, 'libs/a')).toMatch(/^120000 blob/)
    expect((await applyTask(user.path, task)).warnings.join()).toMatch(/removed submodule libs\/a,/)
    expect(read(user.a, 'a.txt')).toBe('a\nmore\n')
  })

  test('refuse as a whole: an ignored file, a link out, or a submodule that is gone', async () => {
    const user = project()
    const { agent, task } = await send(user.path)
    write('top changed\n', agent.work, 'top.txt')
    write('theirs\n', agent.work, 'libs/a/x.log')
    agent.inA('add', '-f', 'x.log')
    await agent.save()
    write('mine\n', user.a, 'x.log')
    await expect(applyTask(user.path, task)).rejects.toThrow(/nothing was applied: libs\/a\/x.log exists here/)
    expect(read(user.path, 'top.txt')).toBe('top\n')
    rmSync(join(agent.work, 'libs/a/x.log'))
    symlinkSync('../../../out', join(agent.work, 'libs/a/link'))
    await agent.save()
    await expect(applyTask(user.path, task)).rejects.toThrow(/libs\/a\/link is a symbolic link that leads out/)
    rmSync(join(agent.work, 'libs/a/link'))
    write('changed\n', agent.work, 'libs/a/a.txt')
    await agent.save()
    user.git('submodule', '--quiet', 'deinit', '-f', 'libs/a')
    await expect(applyTask(user.path, task)).rejects.toThrow(/submodule libs\/a, which is not initialised/)
    await expect(pullTask(user.path, task)).rejects.toThrow(/submodule libs\/a, which is not initialised/)
    expect(read(user.path, 'top.txt')).toBe('top\n')
  })

  test('a link where the submodule should be is not followed, nor a .git that leads to another folder', async () => {
    const user = project()
    rmSync(user.a, { recursive: true })
    symlinkSync(repository().path, user.a)
    user.git('update-index', '--assume-unchanged', 'libs/a')
    await using snapshot = await takeSnapshot(user.path)
    expect(snapshot.parts).toBeUndefined()
    const other = project()
    const elsewhere = repository()
    elsewhere.git('config', 'core.worktree', elsewhere.path)
    rmSync(join(other.a, '.git'))
    write(`gitdir: ${elsewhere.path}/.git\n`, other.a, '.git')
    await using second = await takeSnapshot(other.path)
    expect(second.warnings).toEqual([
      expect.stringMatching(/^libs\/a is a submodule (that cannot be read|whose .git leads)/),
    ])
  })

  test('a second run sends only what is new', async () => {
    const user = project()
    writeFileSync(
      join(user.a, 'big'),
      Buffer.from(Array.from({ length: 300_000 }, () => Math.floor(Math.random() * 256))),
    )
    user.inA('add', '.')
    user.inA('commit', '-q', '-m', 'big')
    const gateway = await startGitGateway()
    const run = async () => {
      const before = gateway.received()
      await using snapshot = await takeSnapshot(user.path)
      const task = await gateway.newTask({ project: snapshot.project })
      await pushSnapshot(snapshot, task)
      await gateway.workspaces.seal(task.id)
      await new Promise((resolve) => setTimeout(resolve, 100)) // connections close
      return gateway.received() - before
    }
    const first = await run()
    expect(first).toBeGreaterThan(300_000)
    expect(first).toBeLessThan(400_000)
    write('more\n', user.b, 'more.txt')
    expect(await run()).toBeLessThan(20_000)
    user.inA('commit', '-q', '--allow-empty', '-m', 'next')
    expect(await run()).toBeLessThan(20_000)
  })

  test('a description of parts that leads out is refused, and an agent cannot write one', async () => {
    const gateway = await startGitGateway()
    const task = await gateway.newTask()
    const { git, path } = repository()
    const describe = (submodules: unknown) => {
      write(JSON.stringify({ version: 1, submodules, large: [] }), path, 'parts.json')
      git('add', '.')
      git('commit', '-q', '-m', 'parts')
      git('push', '-q', '-f', task.repository, `HEAD:${REFS.parts}`, `HEAD:${REFS.snapshot}`)
    }
    const id = 'a'.repeat(40)
    const submodule = (at: string) => ({ path: at, snapshot: id, head: id, link: id })
    const bad = ['../x', '/x', 'a/../../x', '.git/modules', 'a/.GIT/hooks', 'a//b', 'a\u001b[2J', '']
    for (const at of bad) {
      describe([submodule(at)])
      await expect(gateway.workspaces.seal(task.id), at).rejects.toThrow(/refs\/heads\/parts holds no parts.json/)
    }
    describe([submodule('b'), submodule('a')])
    await expect(gateway.workspaces.seal(task.id)).rejects.toThrow(/holds no parts.json/)
    describe([submodule('a')])
    await gateway.workspaces.seal(task.id)
    expect((await gateway.workspaces.access(task.id, 'agent')).allow.writeRefs).not.toContain(REFS.parts)
    expect((await gateway.workspaces.access(task.id, 'owner')).allow.writeRefs).toEqual([])
  })

  test('a hostile result cannot write into the submodule’s git directory or through what it made', async () => {
    const user = project()
    const { task } = await send(user.path)
    const at = gitIn(task.repository)
    const hash = (type: string, content: string | Buffer) =>
      execFileSync('git', ['hash-object', '-w', '--literally', '--stdin', '-t', type], {
        cwd: task.repository,
        input: content,
      })
        .toString()
        .trim()
    const tree = (...entries: [mode: string, name: string, id: string][]) =>
      hash(
        'tree',
        Buffer.concat(
          entries.map(([mode, name, id]) => Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(id, 'hex')])),
        ),
      )
    const blob = hash('blob', '#!/bin/sh\n')
    const hooks = tree(['40000', 'hooks', tree(['100755', 'post-checkout', blob])])
    for (const name of ['.git', '.GIT', 'git~1']) {
      const forged = tree(['40000', 'libs', tree(['40000', 'a', tree(['40000', name, hooks])])])
      at('update-ref', REFS.result, at('commit-tree', '-p', REFS.snapshot, '-m', 'forged', forged))
      await expect(applyTask(user.path, task), name).rejects.toThrow(/could not be fetched|lies in a .git directory/)
    }
    expect(existsSync(join(user.path, '.git/modules/libs/a/hooks/post-checkout'))).toBe(false)
    expect(read(user.a, 'a.txt')).toBe('a\n')
  })
})
