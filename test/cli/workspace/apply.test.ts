import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { applyTask } from '../../../cli/workspace/apply.ts'
import { pullTask } from '../../../cli/workspace/pull.ts'
import { REFS } from '../../../protocol/run.ts'
import { gitIn, repository, temporary } from '../../gateway/workspaces/git-gateway.ts'
import { sendSnapshot } from '../../helpers/sent-snapshot.ts'

const lines = (...changed: [number, string][]) => {
  const text = Array.from({ length: 12 }, (_, index) => `line ${index + 1}`)
  for (const [line, value] of changed) text[line - 1] = value
  return `${text.join('\n')}\n`
}

const write = (root: string, name: string, content: string | Buffer) => {
  mkdirSync(dirname(join(root, name)), { recursive: true })
  writeFileSync(join(root, name), content)
}
const read = (root: string, name: string) => readFileSync(join(root, name), 'utf8')

/** A user's folder, sent; then `change` is what the agent did to it. */
async function taskOn(path: string, change: (work: string, git: (...args: string[]) => string) => void, depth = 50) {
  const { task } = await sendSnapshot(path, depth)
  const work = join(temporary('work'), 'w')
  execFileSync('git', ['clone', '-q', '-b', 'snapshot', task.repository, work], { stdio: 'pipe' })
  const git = gitIn(work)
  const save = (ref: string = REFS.result) => {
    git('add', '-A', '-f')
    git('commit', '-q', '--allow-empty', '-m', `Fix it\n\nTask: ${task.id}`)
    git('push', '-q', task.repository, `+HEAD:${ref}`)
    return git('rev-parse', 'HEAD')
  }
  change(work, git)
  return { task, work, git, save, commit: save() }
}

/** A repository with a committed file of twelve lines and an ignored folder. */
function project() {
  const { path, git } = repository()
  write(path, 'file.txt', lines())
  write(path, 'old.txt', 'old\n')
  write(path, '.gitignore', 'ignored\n')
  git('add', '.')
  git('commit', '-q', '-m', 'first')
  return { path, git }
}

describe('apply', () => {
  test('brings changes, new files, deletions, modes, links and binary files, and leaves the index alone', async () => {
    const { path, git } = project()
    const binary = Buffer.from([0, 1, 2, 255])
    const { task } = await taskOn(path, (work) => {
      write(work, 'file.txt', lines([3, 'THREE']))
      write(work, 'dir/bin', binary)
      write(work, 'tool', '#!/bin/sh\n')
      chmodSync(join(work, 'tool'), 0o755)
      symlinkSync('dir/bin', join(work, 'link'))
      rmSync(join(work, 'old.txt'))
    })
    const index = readFileSync(join(path, '.git', 'index'))
    const dry = await applyTask(path, task, { check: true })
    expect(dry.files).toHaveLength(5)
    expect(git('status', '--porcelain')).toBe('')
    const applied = await applyTask(path, task)
    expect(applied).toMatchObject({ status: 'applied', conflicts: [], cautions: [], from: 'result' })
    expect(applied.files).toEqual(dry.files)
    expect(read(path, 'file.txt')).toBe(lines([3, 'THREE']))
    expect(readFileSync(join(path, 'dir/bin'))).toEqual(binary)
    expect(statSync(join(path, 'tool')).mode & 0o111).toBe(0o111)
    expect(readlinkSync(join(path, 'link'))).toBe('dir/bin')
    expect(existsSync(join(path, 'old.txt'))).toBe(false)
    expect(readFileSync(join(path, '.git', 'index'))).toEqual(index)
    expect(await applyTask(path, task)).toMatchObject({ status: 'already_applied', files: [] })
  })

  test('merges with what the user changed meanwhile, staged, unstaged and committed', async () => {
    const { path, git } = project()
    write(path, 'file.txt', lines([1, 'dirty before']))
    const { task } = await taskOn(path, (work) => {
      write(work, 'file.txt', lines([1, 'dirty before'], [6, 'agent']))
      write(work, 'agent.txt', 'new\n')
    })
    git('commit', '-q', '-am', 'committed meanwhile')
    write(path, 'file.txt', lines([1, 'dirty before'], [12, 'mine']))
    write(path, 'staged.txt', 'staged')
    git('add', 'staged.txt')
    expect(await applyTask(path, task)).toMatchObject({ status: 'applied' })
    expect(read(path, 'file.txt')).toBe(lines([1, 'dirty before'], [6, 'agent'], [12, 'mine']))
    expect(git('diff', '--cached', '--name-only')).toBe('staged.txt')
    expect(await applyTask(path, task)).toMatchObject({ status: 'already_applied' })
  })

  test('leaves conflict markers where both changed the same line, and the rest applied', async () => {
    const { path } = project()
    const { task } = await taskOn(path, (work) => {
      write(work, 'file.txt', lines([3, 'theirs']))
      write(work, 'other.txt', 'other\n')
    })
    write(path, 'file.txt', lines([3, 'mine']))
    const applied = await applyTask(path, task)
    expect(applied).toMatchObject({ status: 'conflicts', conflicts: ['file.txt'] })
    expect(applied.notes.join()).toContain('CONFLICT (content): Merge conflict in file.txt')
    expect(read(path, 'file.txt')).toContain(`<<<<<<< yours\nmine\n=======\ntheirs\n>>>>>>> ${task.taskId}\n`)
    expect(read(path, 'other.txt')).toBe('other\n')
  })

  test('refuses as a whole when an ignored file would be overwritten', async () => {
    const { path, git } = project()
    const { task } = await taskOn(path, (work) => {
      write(work, 'ignored', 'from the agent\n')
      write(work, 'file.txt', lines([1, 'x']))
    })
    write(path, 'ignored', 'precious')
    await expect(applyTask(path, task)).rejects.toThrow(/nothing was applied: ignored exists here/)
    expect(read(path, 'ignored')).toBe('precious')
    expect(git('status', '--porcelain')).toBe('')
  })

  test('refuses links that lead out, in the result', async () => {
    const { path, git } = project()
    for (const target of ['/tmp', '../../x', '.git/hooks']) {
      const { task } = await taskOn(path, (work) => symlinkSync(target, join(work, 'a')))
      await expect(applyTask(path, task)).rejects.toThrow(
        /nothing was applied: a is a symbolic link (that leads out|into .git)/,
      )
    }
    expect(git('status', '--porcelain')).toBe('')
  })

  test('refuses to write through a link that stands in the user’s folder', async () => {
    const { path } = project()
    const outside = temporary('outside')
    const { task } = await taskOn(path, (work) => write(work, 'ignored/b', 'through\n'))
    symlinkSync(outside, join(path, 'ignored'))
    await expect(applyTask(path, task)).rejects.toThrow(/would be written through ignored, which is a symbolic link/)
    expect(existsSync(join(outside, 'b'))).toBe(false)
  })

  test('refuses a forged tree that holds a link and a file below it, or a .git directory', async () => {
    const { path } = project()
    const outside = temporary('outside')
    const { task } = await taskOn(path, () => {})
    const at = gitIn(task.repository)
    const hash = (type: string, content: Buffer) =>
      execFileSync('git', ['hash-object', '-w', '-t', type, '--literally', '--stdin'], {
        cwd: task.repository,
        input: content,
      })
        .toString()
        .trim()
    const entry = (mode: string, name: string, id: string) =>
      Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(id, 'hex')])
    const blob = hash('blob', Buffer.from('evil\n'))
    const link = hash('blob', Buffer.from(outside))
    const below = hash('tree', entry('100644', 'b', blob))
    for (const forged of [
      Buffer.concat([entry('120000', 'a', link), entry('40000', 'a', below)]),
      entry('40000', '.git', below),
      entry('40000', '..', below),
      entry('40000', '.GIT', below),
    ]) {
      const commit = at('commit-tree', '-p', REFS.snapshot, '-m', 'forged', hash('tree', forged))
      at('update-ref', REFS.result, commit)
      await expect(applyTask(path, task)).rejects.toThrow(/duplicateEntries|hasDotgit|hasDotdot|hasDot/)
    }
    expect(existsSync(join(outside, 'b'))).toBe(false)
    expect(gitIn(path)('status', '--porcelain')).toBe('')
  })

  test('works in a folder that is no repository, and makes none', async () => {
    const path = temporary('plain')
    write(path, 'file.txt', lines())
    const { task } = await taskOn(path, (work) => write(work, 'file.txt', lines([2, 'two'])))
    write(path, 'file.txt', lines([11, 'eleven']))
    expect(await applyTask(path, task)).toMatchObject({ status: 'applied', files: [{ path: 'file.txt', status: 'M' }] })
    expect(read(path, 'file.txt')).toBe(lines([2, 'two'], [11, 'eleven']))
    expect(existsSync(join(path, '.git'))).toBe(false)
    await expect(pullTask(path, task)).rejects.toThrow(/no git repository.*rclaude apply/)
  })

  test('applies outside a sparse checkout', async () => {
    const { path, git } = project()
    write(path, 'dir/inner', 'one\n')
    git('add', '.')
    git('commit', '-q', '-m', 'dir')
    git('sparse-checkout', 'set', '--cone', 'nothing')
    const { task } = await taskOn(path, (work) => write(work, 'dir/inner', 'two\n'))
    expect(existsSync(join(path, 'dir'))).toBe(false)
    await applyTask(path, task)
    expect(read(path, 'dir/inner')).toBe('two\n')
  })

  test('points out what runs by itself', async () => {
    const { path } = project()
    write(path, 'package.json', '{"version":"1","scripts":{"test":"vitest"}}')
    write(path, 'web/package.json', '{"version":"1","scripts":{"test":"vitest"}}')
    const { task } = await taskOn(path, (work) => {
      write(work, '.github/workflows/ci.yml', 'on: push\n')
      write(work, '.husky/pre-commit', 'x\n')
      write(work, '.claude/settings.json', '{}\n')
      write(work, '.vscode/tasks.json', '{}\n')
      write(work, 'package.json', '{"version":"1","scripts":{"test":"curl evil"}}')
      write(work, 'web/package.json', '{"version":"2","scripts":{"test":"vitest"}}')
    })
    const { cautions } = await applyTask(path, task, { check: true })
    expect(cautions.map(({ path }) => path)).toEqual([
      '.claude/settings.json',
      '.github/workflows/ci.yml',
      '.husky/pre-commit',
      '.vscode/tasks.json',
      'package.json',
    ])
  })

  test('says so when the task changed nothing, or has no result', async () => {
    const { path } = project()
    const { task } = await taskOn(path, () => {})
    expect(await applyTask(path, task)).toMatchObject({ status: 'no_changes' })
    gitIn(task.repository)('update-ref', '-d', REFS.result)
    await expect(applyTask(path, task)).rejects.toThrow(/has no result on the gateway yet/)
  })

  test('takes the newest checkpoint while there is no result', async () => {
    const { path } = project()
    const { task, save } = await taskOn(path, (work) => write(work, 'file.txt', lines([1, 'saved'])))
    save(REFS.checkpoint)
    gitIn(task.repository)('update-ref', '-d', REFS.result)
    expect(await applyTask(path, task)).toMatchObject({ status: 'applied', from: 'checkpoint' })
    expect(read(path, 'file.txt')).toBe(lines([1, 'saved']))
  })
})

describe('pull', () => {
  test('makes the branch, moves it on, and refuses when it is checked out or the user’s', async () => {
    const { path, git } = project()
    write(path, 'dirty', 'dirty')
    const { task, work, save, commit } = await taskOn(path, (folder) => write(folder, 'agent.txt', 'a\n'), 1)
    const branch = `rclaude/${task.taskId}`
    expect(await pullTask(path, task)).toEqual({ branch, commit, from: 'result', status: 'created' })
    expect(git('show', `${branch}:agent.txt`)).toBe('a')
    expect(git('log', '--format=%s', branch)).toBe('Fix it\nSnapshot of the working tree\nfirst')
    expect(git('fsck', '--full', '--strict')).toBe('')
    expect(existsSync(join(path, '.git', 'shallow'))).toBe(false)
    expect(git('status', '--porcelain')).toBe('?? dirty')
    expect(await pullTask(path, task)).toMatchObject({ status: 'unchanged' })
    write(work, 'agent.txt', 'b\n')
    const next = save()
    expect(await pullTask(path, task)).toMatchObject({ status: 'updated', commit: next })
    rmSync(join(path, 'dirty'))
    git('checkout', '-q', branch)
    await expect(pullTask(path, task)).rejects.toThrow(/is checked out in/)
    git('commit', '-q', '--allow-empty', '-m', 'mine')
    git('checkout', '-q', 'main')
    await expect(pullTask(path, task)).rejects.toThrow(/holds commits that are not of task_/)
    expect(await pullTask(path, task, { branch: 'other' })).toMatchObject({ status: 'created' })
  })

  test('works for an empty repository, a shallow clone and sha256', async () => {
    const empty = repository()
    write(empty.path, 'a', 'a\n')
    const one = await taskOn(empty.path, (work) => write(work, 'b', 'b\n'))
    await pullTask(empty.path, one.task)
    expect(empty.git('ls-tree', '--name-only', `rclaude/${one.task.taskId}`)).toBe('a\nb')

    const origin = project()
    for (let count = 0; count < 4; count++) origin.git('commit', '-q', '--allow-empty', '-m', `c${count}`)
    const clone = join(temporary('clone'), 'c')
    origin.git('clone', '-q', '--depth', '2', `file://${origin.path}`, clone)
    const two = await taskOn(clone, (work) => write(work, 'b', 'b\n'))
    await pullTask(clone, two.task)
    expect(gitIn(clone)('log', '--format=%s', `rclaude/${two.task.taskId}`)).toBe('Fix it\nc3\nc2')

    const wide = repository('--object-format=sha256')
    write(wide.path, 'a', 'a\n')
    wide.git('add', '.')
    wide.git('commit', '-q', '-m', 'a')
    const three = await taskOn(wide.path, (work) => write(work, 'b', 'b\n'))
    await pullTask(wide.path, three.task)
    await applyTask(wide.path, three.task)
    expect(read(wide.path, 'b')).toBe('b\n')
    await expect(applyTask(project().path, three.task)).rejects.toThrow(/was started from another project: .*sha256/)
  })

  test('refuses in a clone that lacks the commit the task started from', async () => {
    const { path, git } = project()
    git('commit', '-q', '--allow-empty', '-m', 'second')
    const { task } = await taskOn(path, (work) => write(work, 'b', 'b\n'), 1)
    await expect(pullTask(project().path, task)).rejects.toThrow(/does not hold the commit/)
  })
})
