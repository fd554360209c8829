import { execFile, execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { giveDirectory, openedTo } from '../../../agent/processes/belongings.ts'
import { openGitBridge } from '../../../agent/workspace/git-bridge.ts'
import { Workspace, type WorkspaceOptions } from '../../../agent/workspace/workspace.ts'
import { REFS, type RunWorkspace } from '../../../protocol/run.ts'
import { type GitGateway, gitIn, repository, startGitGateway, temporary } from '../../gateway/workspaces/git-gateway.ts'
import { workerWithHands } from '../../helpers/hands.ts'
import { sendSnapshot } from '../../helpers/sent-snapshot.ts'

const message = 'Fix the bug\nand more'

/** A repository with history and a dirty tree, sent to a task, prepared in an agent's workspace. */
async function prepared(options: Partial<WorkspaceOptions> = {}, fill?: (path: string) => void, depth = 50) {
  const user = repository()
  writeFileSync(join(user.path, 'file.txt'), 'one\n')
  writeFileSync(join(user.path, '.gitignore'), 'ignored*\n')
  fill?.(user.path)
  user.git('add', '.')
  user.git('commit', '-q', '-m', 'first')
  user.git('commit', '-q', '--allow-empty', '-m', 'second')
  writeFileSync(join(user.path, 'dirty.txt'), 'dirty\n')
  const { gateway, task, commit } = await sendSnapshot(user.path, depth)
  const spec = {
    kind: 'git',
    objectFormat: 'sha1',
    snapshot: commit,
    checkout: commit,
    session: false,
  } as const
  const { workspace, work, state } = await agentFor(gateway, task.id, spec, options)
  return { user, gateway, task, spec, workspace, work, state, inWork: gitIn(work), at: gitIn(task.repository) }
}

async function agentFor(
  gateway: GitGateway,
  id: Awaited<ReturnType<GitGateway['newTask']>>['id'],
  spec: RunWorkspace,
  options: Partial<WorkspaceOptions> = {},
) {
  const directory = temporary('placement')
  chmodSync(directory, 0o755)
  const [work, state] = [options.work ?? join(directory, 'work'), join(directory, 'state')]
  const author = { name: 'Agent', email: 'agent@example.com' }
  const workspace = new Workspace({ taskId: id, work, state, author, forward: gateway.forward(id), ...options })
  await workspace.prepare(spec)
  return { workspace, work, state }
}

const listed = (at: (...args: string[]) => string, ref: string) => at('ls-tree', '-r', '--name-only', ref).split('\n')

describe('prepare', () => {
  test('makes an ordinary clean repository with history on branch work', async () => {
    const { inWork, work, spec } = await prepared({}, undefined, 2)
    expect(inWork('status', '--porcelain')).toBe('')
    expect(inWork('branch', '--show-current')).toBe('work')
    expect(inWork('rev-parse', 'HEAD')).toBe(spec.snapshot)
    expect(inWork('log', '--format=%s')).toBe('Snapshot of the working tree\nsecond\nfirst')
    expect(readFileSync(join(work, 'dirty.txt'), 'utf8')).toBe('dirty\n')
    expect(inWork('config', 'user.email')).toBe('agent@example.com')
    expect(inWork('for-each-ref', '--format=%(refname)')).toBe('refs/heads/work')
  })

  test('repeated in the same placement leaves the work as it is', async () => {
    const { workspace, work, spec } = await prepared()
    writeFileSync(join(work, 'new.txt'), 'new')
    await workspace.prepare(spec)
    expect(existsSync(join(work, 'new.txt'))).toBe(true)
  })

  test('checks out an earlier result and compares with the snapshot all the same', async () => {
    const first = await prepared()
    writeFileSync(join(first.work, 'new.txt'), 'new\n')
    writeFileSync(join(first.work, 'ignored.forced'), 'x')
    first.inWork('add', '-f', 'ignored.forced')
    const saved = await first.workspace.result({ message })
    const again = await agentFor(first.gateway, first.task.id, { ...first.spec, checkout: saved?.commit ?? '' })
    expect(readFileSync(join(again.work, 'new.txt'), 'utf8')).toBe('new\n')
    writeFileSync(join(again.work, 'file.txt'), 'three\n')
    const result = await again.workspace.result({ message })
    expect(result).toMatchObject({ filesChanged: 3, insertions: 3, deletions: 1 })
    expect(first.at('rev-parse', `${REFS.result}^`)).toBe(first.spec.snapshot)
    expect(listed(first.at, REFS.result)).toContain('ignored.forced')
  })

  test('clones a repository, by branch, and hands its commit in as the snapshot', async () => {
    const source = repository()
    writeFileSync(join(source.path, 'a'), 'a\n')
    source.git('add', '.')
    source.git('commit', '-q', '-m', 'a')
    source.git('tag', '-a', 'v1', '-m', 'v1')
    const gateway = await startGitGateway()
    const task = await gateway.newTask()
    const { work, workspace } = await agentFor(gateway, task.id, {
      kind: 'repo',
      url: `file://${source.path}`,
      ref: 'v1',
      depth: 50,
    })
    expect(gitIn(work)('rev-parse', 'HEAD')).toBe(source.git('rev-parse', 'HEAD'))
    expect(gitIn(work)('remote', 'get-url', 'origin')).toBe(`file://${source.path}`)
    expect((await gateway.workspaces.refs(task.id)).snapshot).toBe(source.git('rev-parse', 'HEAD'))
    writeFileSync(join(work, 'a'), 'b\n')
    await workspace.result({ message })
    expect(gitIn(task.repository)('show', `${REFS.result}:a`)).toBe('b')
    const missing = await gateway.newTask()
    await expect(
      agentFor(gateway, missing.id, { kind: 'repo', url: `file://${source.path}`, ref: 'nope', depth: 50 }),
    ).rejects.toThrow(/file:.* has no nope: --ref takes/)
  })

  test('without a workspace gives an empty folder and saves nothing', async () => {
    const gateway = await startGitGateway()
    const task = await gateway.newTask()
    const { work, workspace } = await agentFor(gateway, task.id, { kind: 'none' })
    expect(readdirSync(work)).toEqual([])
    expect(await workspace.checkpoint({ message })).toBeUndefined()
    expect(await workspace.result({ message })).toBeUndefined()
  })
})

describe('checkpoint and result', () => {
  test('a checkpoint is pushed when something changed and not otherwise', async () => {
    const { workspace, work, at, spec, task } = await prepared()
    expect(await workspace.checkpoint({ message })).toBeUndefined()
    writeFileSync(join(work, 'file.txt'), 'one\ntwo\n')
    const saved = await workspace.checkpoint({ message })
    expect(saved).toMatchObject({ filesChanged: 1, insertions: 1, deletions: 0, warnings: [] })
    expect(await workspace.checkpoint({ message })).toBeUndefined()
    expect(at('rev-parse', REFS.checkpoint)).toBe(saved?.commit)
    expect(at('rev-parse', `${REFS.checkpoint}^`)).toBe(spec.snapshot)
    expect(at('log', '-1', '--format=%an|%B', REFS.checkpoint).trim()).toBe(`Agent|Fix the bug\n\nTask: ${task.id}`)
    writeFileSync(join(work, 'file.txt'), 'one\n')
    expect(await workspace.checkpoint({ message })).toMatchObject({ commit: spec.snapshot, filesChanged: 0 })
  })

  test('a result without a change is the snapshot itself', async () => {
    const { workspace, at, spec } = await prepared()
    expect(await workspace.result({ message })).toMatchObject({ commit: spec.snapshot, filesChanged: 0 })
    expect(at('rev-parse', REFS.result)).toBe(spec.snapshot)
  })

  test('survives commits, other branches, a broken index and a deleted .git', async () => {
    const { workspace, work, at, inWork, spec } = await prepared()
    writeFileSync(join(work, 'committed.txt'), 'c')
    inWork('checkout', '-q', '-b', 'elsewhere')
    inWork('add', '.')
    inWork('commit', '-q', '-m', 'mine')
    rmSync(join(work, 'dirty.txt'))
    await workspace.checkpoint({ message })
    expect(listed(at, REFS.checkpoint)).toEqual(['.gitignore', 'committed.txt', 'file.txt'])
    inWork('checkout', '-q', '--orphan', 'empty')
    writeFileSync(join(work, '.git', 'index'), 'garbage')
    writeFileSync(join(work, 'later.txt'), 'l')
    await workspace.checkpoint({ message })
    expect(listed(at, REFS.checkpoint)).toContain('later.txt')
    rmSync(join(work, '.git'), { recursive: true })
    writeFileSync(join(work, 'last.txt'), 'l')
    const saved = await workspace.result({ message })
    expect(listed(at, REFS.result)).toEqual(['.gitignore', 'committed.txt', 'file.txt', 'last.txt', 'later.txt'])
    expect(saved?.warnings).toEqual([])
    expect(at('rev-list', '--count', `${spec.snapshot}..${REFS.result}`)).toBe('1')
  })

  test('leaves temporary files of sync and uploads out, and nothing that only begins like them', async () => {
    const { workspace, work, at, inWork } = await prepared()
    mkdirSync(join(work, 'deep'))
    const left = ['.rclaude-sync-0123456789abcdef-7', 'deep/.rclaude-upload-0123456789abcdef']
    for (const path of [...left, '.rclaude-sync-notes', 'deep/file']) writeFileSync(join(work, path), 'x')
    inWork('add', '-A') // as a coding agent does at any moment
    await workspace.checkpoint({ message })
    const files = listed(at, REFS.checkpoint)
    expect(files).toEqual(expect.arrayContaining(['.rclaude-sync-notes', 'deep/file']))
    for (const path of left) expect(files).not.toContain(path)
  })

  test('keeps ignored files out, forced ones in', async () => {
    const { workspace, work, at, inWork } = await prepared()
    writeFileSync(join(work, 'ignored.log'), 'no')
    writeFileSync(join(work, 'ignored.forced'), 'yes')
    inWork('add', '-f', 'ignored.forced')
    inWork('commit', '-q', '-m', 'forced')
    await workspace.result({ message })
    expect(listed(at, REFS.result)).toEqual(['.gitignore', 'dirty.txt', 'file.txt', 'ignored.forced'])
  })

  test('keeps the files of nested repositories, again and again', async () => {
    const { workspace, work, at } = await prepared()
    for (const [name, commits] of [
      ['nested', true],
      ['nested/deeper', false],
      ['file.txt', false],
    ] as const) {
      if (name === 'file.txt') rmSync(join(work, name))
      mkdirSync(join(work, name), { recursive: true })
      gitIn(join(work, name))('init', '-q')
      writeFileSync(join(work, name, 'inner'), name)
      if (commits) {
        gitIn(join(work, name))('add', '.')
        gitIn(join(work, name))('commit', '-q', '-m', 'inner')
      }
    }
    const expected = ['.gitignore', 'dirty.txt', 'file.txt/inner', 'nested/deeper/inner', 'nested/inner']
    expect((await workspace.checkpoint({ message }))?.warnings).toEqual([])
    expect(listed(at, REFS.checkpoint)).toEqual(expected)
    expect(await workspace.checkpoint({ message })).toBeUndefined()
    writeFileSync(join(work, 'nested', 'more'), 'm')
    await workspace.result({ message })
    expect(listed(at, REFS.result)).toEqual([...expected, 'nested/more'].sort())
  })

  test('keeps odd names, modes and links', async () => {
    const { workspace, work, at } = await prepared()
    writeFileSync(Buffer.concat([Buffer.from(`${work}/`), Buffer.from([0xff, 0x41])]), 'x')
    writeFileSync(join(work, '-new\n"line"'), 'x')
    writeFileSync(join(work, 'run'), 'x')
    chmodSync(join(work, 'run'), 0o755)
    symlinkSync('/etc/passwd', join(work, 'link'))
    await workspace.result({ message })
    const names = at('ls-tree', '-r', REFS.result)
    expect(names).toContain('"-new\\n\\"line\\""')
    expect(names).toContain('"\\377A"')
    expect(names).toMatch(/100755 blob \S+\trun/)
    expect(names).toMatch(/120000 blob \S+\tlink/)
  })

  test('takes a file as it is when its attributes ask for an impossible conversion', async () => {
    const { workspace, work, at } = await prepared()
    writeFileSync(join(work, '.gitattributes'), '*.x working-tree-encoding=UTF-16LE-BOM\n')
    writeFileSync(join(work, 'bad.x'), Buffer.from([0x61, 0xd8, 0x00]))
    const saved = await workspace.result({ message })
    expect(listed(at, REFS.result)).toContain('bad.x')
    expect(saved?.warnings).toEqual([])
  })

  test('saves session files with the checkpoint and restores them elsewhere', async () => {
    const { workspace, work, at, gateway, task, spec } = await prepared()
    const home = temporary('home')
    mkdirSync(join(home, 'projects'))
    writeFileSync(join(home, 'projects', 'session.jsonl'), '{"a":1}\n')
    writeFileSync(join(home, 'secret'), 'not this')
    const session = { directory: home, paths: ['projects/session.jsonl', 'projects/missing'] }
    writeFileSync(join(work, 'x'), 'x')
    await workspace.checkpoint({ message, session })
    expect(listed(at, REFS.session)).toEqual(['projects/session.jsonl'])
    expect(await workspace.checkpoint({ message, session })).toBeUndefined()
    writeFileSync(join(home, 'projects', 'session.jsonl'), '{"a":1}\n{"b":2}\n')
    expect(await workspace.checkpoint({ message, session })).toMatchObject({ filesChanged: 1 })
    const checkout = (await gateway.workspaces.refs(task.id)).checkpoint ?? ''
    const other = await agentFor(gateway, task.id, { ...spec, checkout, session: true })
    const newHome = join(temporary('home'), 'new')
    expect(await other.workspace.restoreSession(newHome)).toBe(true)
    expect(readFileSync(join(newHome, 'projects', 'session.jsonl'), 'utf8')).toContain('"b":2')
  })

  test('a hostile repository executes nothing', async () => {
    const trace = join(temporary('trace'), 'ran')
    const { workspace, work, inWork } = await prepared({}, (path) =>
      writeFileSync(join(path, '.gitattributes'), '* filter=evil diff=evil merge=evil\n'),
    )
    const command = `sh -c "echo $0 >> ${trace}; cat"`
    for (const [key, value] of [
      ['core.fsmonitor', `echo fsmonitor >> ${trace};:`],
      ['filter.evil.clean', command],
      ['filter.evil.smudge', command],
      ['filter.evil.process', command],
      ['filter.evil.required', 'true'],
      ['diff.evil.textconv', command],
      ['diff.evil.command', command],
      ['diff.external', command],
      ['core.pager', command],
      ['core.alternateRefsCommand', command],
      ['core.sshCommand', command],
      ['credential.helper', `!echo helper >> ${trace}`],
      ['remote.origin.url', `ext::sh -c "echo ext >> ${trace}"`],
      ['remote.origin.promisor', 'true'],
      ['extensions.partialClone', 'origin'],
      ['core.repositoryFormatVersion', '1'],
      ['core.hooksPath', join(work, 'hooks')],
    ] as const)
      inWork('config', key, value)
    for (const folder of [join(work, 'hooks'), join(work, '.git', 'hooks')]) {
      mkdirSync(folder, { recursive: true })
      for (const hook of [
        'post-index-change',
        'reference-transaction',
        'pre-commit',
        'post-checkout',
        'pre-push',
        'fsmonitor-watchman',
      ]) {
        writeFileSync(join(folder, hook), `#!/bin/sh\necho ${hook} >> ${trace}\n`)
        chmodSync(join(folder, hook), 0o755)
      }
    }
    mkdirSync(join(work, 'inner'))
    execFileSync('cp', ['-r', join(work, '.git'), join(work, 'inner', '.git')])
    writeFileSync(join(work, 'inner', 'x'), 'x')
    writeFileSync(join(work, 'file.txt'), 'changed\n')
    // The traps are real: the user's own git walks into them.
    expect(() => inWork('diff')).toThrow()
    expect(existsSync(trace)).toBe(true)
    rmSync(trace)
    expect(await workspace.checkpoint({ message })).toBeDefined()
    writeFileSync(join(work, 'file.txt'), 'changed again\n')
    const saved = await workspace.result({ message })
    expect(saved?.warnings).toEqual([])
    expect(existsSync(trace)).toBe(false)
  })

  test.skipIf(process.getuid?.() !== 0)(
    'runs as the work user, who cannot change the daemon’s repository',
    async () => {
      const user = await workerWithHands({ uid: 65_534, gid: 65_534 })
      const placement = temporary('folders')
      chmodSync(placement, 0o755)
      const folders = { work: join(placement, 'work'), private: join(placement, 'private') }
      await openedTo(user, placement, async () => {
        for (const path of Object.values(folders)) await giveDirectory(path, user)
      })
      const { workspace, work, state } = await prepared({ user, ...folders })
      expect(statSync(join(work, 'file.txt')).uid).toBe(user.uid)
      expect(statSync(join(work, '.git')).uid).toBe(user.uid)
      expect(statSync(join(state, 'daemon.git', 'config')).uid).toBe(0)
      writeFileSync(join(work, 'rootonly'), 'x', { mode: 0o600 })
      writeFileSync(join(work, 'other'), 'x')
      const saved = await workspace.checkpoint({ message })
      expect(saved?.warnings.join()).toMatch(/could not be read.*rootonly/)
      chmodSync(join(work, 'rootonly'), 0o644)
      expect(await workspace.result({ message })).toMatchObject({ filesChanged: 2, warnings: [] })
      expect(() => execFileSync('touch', [join(state, 'daemon.git', 'config')], { ...user, stdio: 'ignore' })).toThrow()
    },
  )
})

describe('the agent’s access', () => {
  test('it can write its own refs and nothing else, and delete nothing', async () => {
    const { gateway, task, work, workspace, inWork, at, spec } = await prepared()
    writeFileSync(join(work, 'x'), 'x')
    await workspace.checkpoint({ message })
    await using bridge = await openGitBridge(gateway.forward(task.id))
    const pushed = (...refspecs: string[]) =>
      new Promise<string>((resolve) => {
        const settings = bridge.config.flatMap(([key, value]) => ['-c', `${key}=${value}`])
        execFile('git', [...settings, 'push', bridge.url, ...refspecs], { cwd: work }, (_error, stdout, stderr) =>
          resolve(stdout + stderr),
        )
      })
    inWork('commit', '-q', '--allow-empty', '-m', 'forged')
    expect(await pushed(`+HEAD:${REFS.snapshot}`)).toMatch(/remote rejected.*may not be written/)
    expect(await pushed('HEAD:refs/heads/other')).toMatch(/remote rejected.*may not be written/)
    expect(await pushed(`HEAD:${REFS.result}`, 'HEAD:refs/tags/x')).toMatch(/remote rejected/)
    expect(await pushed(`:${REFS.checkpoint}`)).toMatch(/may not be deleted/)
    expect(at('rev-parse', REFS.snapshot)).toBe(spec.snapshot)
    expect((await gateway.workspaces.refs(task.id)).result).toBeUndefined()
    expect(await pushed(`HEAD:${REFS.result}`)).toMatch(/new branch/)
  })

  test('the bridge answers only who knows its token, and only for git', async () => {
    await using bridge = await openGitBridge((_request, response) => response.end('forwarded'))
    const token = bridge.config[0]?.[1].replace('Authorization: ', '') ?? ''
    const status = (path: string, authorization: string) =>
      new Promise<number | undefined>((resolve, reject) => {
        get(`${bridge.url}${path}`, { headers: { authorization } }, (response) => {
          response.resume()
          resolve(response.statusCode)
        }).on('error', reject)
      })
    expect(await status('/info/refs?service=git-upload-pack', 'Bearer wrong')).toBe(401)
    expect(await status('/../run', token)).toBe(404)
    expect(await status('/info/refs?service=git-upload-pack', token)).toBe(200)
  })
})
