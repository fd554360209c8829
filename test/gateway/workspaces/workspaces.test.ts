import { execFile, execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { describe, expect, test } from 'vitest'
import { pushSnapshot } from '../../../cli/workspace/push.ts'
import { takeSnapshot } from '../../../cli/workspace/snapshot.ts'
import { newTaskId, type TaskId } from '../../../protocol/ids.ts'
import { REFS } from '../../../protocol/run.ts'
import { type GitGateway, gitIn, repository, startGitGateway, temporary } from './git-gateway.ts'

const run = promisify(execFile)

/** A project with enough in it that sending it whole shows. */
function project(bytes = 200_000) {
  const { path, git } = repository()
  for (let count = 0; count < 4; count++) {
    writeFileSync(join(path, `big${count}`), randomBytes(bytes / 4))
    git('add', '.')
    git('commit', '-q', '-m', `c${count}`)
  }
  return { path, git }
}

async function send(gateway: GitGateway, path: string, create: { owner?: string; project?: string }, depth = 50) {
  await using snapshot = await takeSnapshot(path, { depth })
  const before = gateway.received()
  const task = await gateway.newTask(create)
  await pushSnapshot(snapshot, task)
  const bytes = gateway.received() - before
  return { task, bytes, commit: snapshot.commit, at: gitIn(task.repository) }
}

describe('the cache', () => {
  test.each([50, 2])('a second task of the same project sends less than 5 % (history of %i)', async (depth) => {
    const gateway = await startGitGateway()
    const { path, git } = project()
    const first = await send(gateway, path, { project: 'p' }, depth)
    await gateway.workspaces.seal(first.task.id)
    git('commit', '-q', '--allow-empty', '-m', 'next')
    writeFileSync(join(path, 'small'), 'small\n')
    const second = await send(gateway, path, { project: 'p' }, depth)
    expect(first.bytes).toBeGreaterThan(100_000)
    expect(second.bytes).toBeLessThan(first.bytes * 0.05)
    const alternates = join(second.task.repository, 'objects', 'info', 'alternates')
    expect(existsSync(alternates)).toBe(true)
    await expect(gateway.workspaces.access(second.task.id, 'agent')).rejects.toThrow(/still being delivered/)
    await gateway.workspaces.seal(second.task.id)
    expect(existsSync(alternates)).toBe(false)
    expect(second.at('fsck', '--full', '--connectivity-only')).toBe('')
    expect(second.at('show', `${REFS.snapshot}:small`)).toBe('small')
    expect(second.at('cat-file', '-s', `${REFS.snapshot}:big0`)).toBe('50000')
  })

  test('is not shared with another owner or project, nor ever with an agent', async () => {
    const gateway = await startGitGateway()
    const { path, git } = project()
    const secret = git('rev-parse', 'HEAD:big0')
    const first = await send(gateway, path, { owner: 'ann', project: 'p' })
    await gateway.workspaces.seal(first.task.id)
    const stranger = await send(gateway, path, { owner: 'bob', project: 'p' })
    expect(stranger.bytes).toBeGreaterThan(first.bytes * 0.9)

    const other = repository()
    writeFileSync(join(other.path, 'mine'), 'mine')
    const second = await send(gateway, other.path, { owner: 'ann', project: 'p' })
    await gateway.workspaces.seal(second.task.id)
    // The agent's side: what it is shown, and what it gets when it asks for an object by name.
    const server = await agentServer(gateway, second.task.id)
    const shown = await fetch(`${server.url}/info/refs?service=git-receive-pack`)
    expect(await shown.text()).not.toContain('.have')
    for (const version of [0, 2]) {
      const { stdout } = await run('git', ['-c', `protocol.version=${version}`, 'ls-remote', server.url])
      expect(stdout).toBe(`${second.commit}\t${REFS.snapshot}\n`)
      const thief = repository()
      const fetched = run('git', ['-c', `protocol.version=${version}`, 'fetch', server.url, secret], {
        cwd: thief.path,
      })
      await expect(fetched).rejects.toThrow(/not our ref|unadvertised|upload-pack/)
    }
    await server.close()
  })

  test.each([
    [1, 50],
    [50, 1],
    [2, Number.POSITIVE_INFINITY],
  ])('serves a project that is sent with history of %d and then %d, unchanged and changed', async (first, then) => {
    const gateway = await startGitGateway()
    const { path, git } = project(8_000)
    for (const depth of [first, then, then, first]) {
      const { task, commit, at } = await send(gateway, path, { project: 'p' }, depth)
      expect((await gateway.workspaces.seal(task.id)).snapshot).toBe(commit)
      expect(at('fsck', '--full')).toBe('')
      const clone = join(temporary(), 'clone')
      await run('git', ['clone', '-q', '-b', 'snapshot', `file://${task.repository}`, clone])
      expect(gitIn(clone)('fsck', '--full')).toBe('')
      if (depth === then) git('commit', '-q', '--allow-empty', '-m', 'more')
    }
  })

  test('is dropped when it has grown too large and nobody borrows', async () => {
    const gateway = await startGitGateway({ maxCacheBytes: 1_000 })
    const { path } = project()
    const first = await send(gateway, path, { project: 'p' })
    await gateway.workspaces.seal(first.task.id)
    expect(await gateway.workspaces.diskUsage()).toBe(await gateway.workspaces.diskUsage(first.task.id))
  })
})

async function agentServer(gateway: GitGateway, id: Parameters<GitGateway['forward']>[0]) {
  const { createServer } = await import('node:http')
  const server = createServer(gateway.forward(id))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  return { url: `http://127.0.0.1:${address.port}/git`, close }
}

describe('git over HTTP', () => {
  test('the owner pushes the snapshot and nothing else, and nothing after the seal', async () => {
    const gateway = await startGitGateway()
    const { path, git } = repository()
    git('commit', '-q', '--allow-empty', '-m', 'a')
    const task = await gateway.newTask()
    const url = `${gateway.url}/v1/tasks/${task.id}/git`
    const push = (token: string, ...refspecs: string[]) =>
      run('git', ['-c', `http.extraHeader=Authorization: Bearer ${token}`, 'push', url, ...refspecs], {
        cwd: path,
      }).then(
        ({ stderr }) => stderr,
        (error: Error) => error.message,
      )
    expect(await push('owner-token', `HEAD:${REFS.result}`)).toMatch(/remote rejected.*may not be written \(only/)
    expect(await push('owner-token', `HEAD:${REFS.snapshot}`)).toContain('new branch')
    expect(await push('owner-token', `:${REFS.snapshot}`)).toMatch(/may not be deleted/)
    await gateway.workspaces.seal(task.id)
    expect(await push('owner-token', `HEAD:${REFS.base}`)).toContain('403')
    expect(await push('reader-token', `HEAD:${REFS.base}`)).toContain('403')
    const clone = join(temporary(), 'clone')
    await run('git', [
      '-c',
      'http.extraHeader=Authorization: Bearer reader-token',
      'clone',
      '-q',
      '-b',
      'snapshot',
      url,
      clone,
    ])
    expect(gitIn(clone)('log', '--format=%s')).toBe('a')
  })

  test('takes gzipped and chunked bodies and refuses what is no push', async () => {
    const gateway = await startGitGateway()
    const task = await gateway.newTask()
    const url = `${gateway.url}/v1/tasks/${task.id}/git/git-receive-pack`
    const post = (
      body: Buffer,
      headers: Record<string, string> = {},
      type = 'application/x-git-receive-pack-request',
    ) =>
      fetch(url, {
        method: 'POST',
        body,
        headers: { authorization: 'Bearer owner-token', 'content-type': type, ...headers },
      })
    const line = `${'0'.repeat(40)} ${'1'.repeat(40)} refs/heads/evil\0 report-status`
    const command = Buffer.from(`${(line.length + 4).toString(16).padStart(4, '0')}${line}0000`)
    for (const [body, headers] of [
      [command, {}],
      [gzipSync(command), { 'content-encoding': 'gzip' }],
    ] as const) {
      const answer = await post(body, headers)
      expect(answer.status).toBe(200)
      expect(await answer.text()).toMatch(/ng refs\/heads\/evil refs\/heads\/evil may not be written/)
    }
    expect((await post(Buffer.from('zzzz'))).status).toBe(400)
    expect((await post(Buffer.from('00'))).status).toBe(400)
    expect((await post(Buffer.from('0010push-cert x\n'))).status).toBe(400)
    expect((await post(gzipSync(command).subarray(0, 12), { 'content-encoding': 'gzip' })).status).toBe(400)
    expect((await post(command, { 'content-encoding': 'br' })).status).toBe(415)
    expect((await post(command, {}, 'text/plain')).status).toBe(415)
    const refs = await fetch(`${gateway.url}/v1/tasks/${task.id}/git/info/refs`, {
      headers: { authorization: 'Bearer owner-token' },
    })
    expect(refs.status).toBe(400)
    expect(await gateway.workspaces.refs(task.id)).toEqual({})
  })

  test('a push above the limit leaves no ref', async () => {
    const gateway = await startGitGateway({ maxInputBytes: 50_000 })
    const { path } = project()
    await expect(send(gateway, path, {})).rejects.toMatchObject({ code: 'too_large' })
  })

  test('git ends when the client vanishes in the middle of a push', async () => {
    const gateway = await startGitGateway()
    const task = await gateway.newTask()
    const vanish = new AbortController()
    const posted = stallingPush(gateway, task, [pushCommand, packHeader], vanish.signal)
    await until(() => gitProcesses(task.repository) > 0)
    vanish.abort()
    await expect(posted).rejects.toThrow()
    await until(() => gitProcesses(task.repository) === 0)
  })

  test.each([
    ['before its commands are there', () => [pushCommand.subarray(0, 20)]],
    ['in the middle of its pack', () => [pushCommand, packHeader]],
  ])('a push that stalls %s is cut off at the deadline, and the log says at which', async (_where, chunks) => {
    const gateway = await startGitGateway({ deadlineSeconds: 0.5 })
    const task = await gateway.newTask()
    await expect(stallingPush(gateway, task, chunks())).rejects.toThrow()
    expect(gateway.complaints).toContainEqual(expect.stringContaining('deadlines.transfer'))
    await until(() => gitProcesses(task.repository) === 0)
    expect(await gateway.workspaces.refs(task.id)).toEqual({})
  })
})

const commandLine = `${'0'.repeat(40)} ${'1'.repeat(40)} ${REFS.snapshot}\0 report-status`
const pushCommand = Buffer.from(`${(commandLine.length + 4).toString(16).padStart(4, '0')}${commandLine}0000`)
const packHeader = Buffer.from('PACK\0\0\0\x02\0\0\0\x09')

/** Sends these bytes as a push, and then nothing more. */
async function stallingPush(
  { url }: GitGateway,
  { id }: { id: TaskId },
  chunks: Buffer[],
  signal?: AbortSignal,
): Promise<string> {
  const body = new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk)
    },
  })
  const response = await fetch(`${url}/v1/tasks/${id}/git/git-receive-pack`, {
    method: 'POST',
    body,
    duplex: 'half',
    signal: signal ?? null,
    headers: { authorization: 'Bearer owner-token', 'content-type': 'application/x-git-receive-pack-request' },
  } as RequestInit)
  return response.text()
}

/** Processes whose command line holds the text. */
const gitProcesses = (mark: string): number =>
  readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false
    try {
      return readFileSync(join('/proc', name, 'cmdline'), 'utf8')
        .replaceAll('\0', ' ')
        .includes(mark)
    } catch {
      return false // it ended meanwhile
    }
  }).length

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('it did not happen within 10 s')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

describe('uploads', () => {
  test('a tar keeps names, modes and links, gzipped or not', async () => {
    const folder = temporary('folder')
    mkdirSync(join(folder, 'dir'))
    writeFileSync(join(folder, 'dir', 'run.sh'), '#!/bin/sh\n', { mode: 0o755 })
    writeFileSync(join(folder, 'new\n"line"'), 'odd')
    writeFileSync(join(folder, 'ünï'.repeat(40)), 'long')
    writeFileSync(join(folder, 'empty'), '')
    symlinkSync('dir/run.sh', join(folder, 'link'))
    execFileSync('ln', [join(folder, 'empty'), join(folder, 'hard')])
    const local = gitIn(folder)
    local('init', '-q')
    const bytes = Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xff, 0x41])])
    for (const flags of ['--format=pax', '--format=gnu', '-z']) {
      if (flags === '--format=gnu') writeFileSync(bytes, 'a name that pax cannot carry')
      local('add', '-A')
      const tree = local('write-tree')
      const tar = execFileSync('tar', ['-C', folder, '--exclude=./.git', flags, '-cf', '-', '.'])
      const gateway = await startGitGateway()
      const task = await gateway.newTask()
      await gateway.workspaces.acceptTar(task.id, Readable.from([tar.subarray(0, 1), tar.subarray(1)]))
      const { snapshot } = await gateway.workspaces.seal(task.id)
      expect(gitIn(task.repository)('rev-parse', `${snapshot}^{tree}`)).toBe(tree)
      await expect(gateway.workspaces.acceptTar(task.id, Readable.from([tar]))).rejects.toThrow(
        /has its workspace already/,
      )
    }
    const pax = execFileSync('tar', ['-C', folder, '--exclude=./.git', '--format=pax', '-cf', '-', '.'])
    const gateway = await startGitGateway()
    const task = await gateway.newTask()
    await expect(gateway.workspaces.acceptTar(task.id, Readable.from([pax]))).rejects.toThrow(/no UTF-8.*--format=gnu/)
  })

  test('a tar that leads out, holds .git, a device, too much, or rubbish is refused as a whole', async () => {
    const gateway = await startGitGateway({ maxInputBytes: 10_000, maxEntries: 5 })
    const tarOf = (...entries: Parameters<ReturnType<typeof pack>['entry']>[0][]) => {
      const tar = pack()
      tar.entry({ name: 'fine' }, 'fine')
      for (const entry of entries) tar.entry(entry, entry.type === undefined ? 'x' : '')
      tar.finalize()
      return tar
    }
    const cases: [AsyncIterable<unknown>, RegExp][] = [
      [tarOf({ name: '../out' }), /leads out of the folder/],
      [tarOf({ name: 'a/../../out' }), /leads out of the folder/],
      [tarOf({ name: '/etc/passwd' }), /absolute path/],
      [tarOf({ name: '.git/config' }), /lies in a .git directory/],
      [tarOf({ name: 'sub/.GIT/hooks/x' }), /lies in a .git directory/],
      [tarOf({ name: 'dev', type: 'character-device' }), /is a character-device/],
      [tarOf({ name: 'pipe', type: 'fifo' }), /is a fifo/],
      [tarOf({ name: 'hard', type: 'link', linkname: 'absent' }), /hard link to something/],
      [
        tarOf({ name: 'a' }, { name: 'b' }, { name: 'c' }, { name: 'd' }, { name: 'e' }),
        /more than 5 entries \(limits\.workspaceFiles\)/,
      ],
      [Readable.from([Buffer.alloc(2_000, 'rubbish')]), /cannot be read as tar/],
      [Readable.from([gzipSync(Buffer.alloc(20_000)).subarray(0, 20)]), /cannot be read as tar/],
      [
        Readable.from([execFileSync('tar', ['-cf', '-', '-C', '/', 'etc/hostname']).subarray(0, 600)]),
        /cannot be read as tar/,
      ],
    ]
    const big = pack()
    big.entry({ name: 'big' }, Buffer.alloc(20_000))
    big.finalize()
    cases.push([big, /more than 9\.8 KiB \(limits\.workspace\)/])
    for (const [tar, why] of cases) {
      const task = await gateway.newTask()
      await expect(gateway.workspaces.acceptTar(task.id, Readable.from(tar))).rejects.toThrow(why)
      expect(await gateway.workspaces.refs(task.id)).toEqual({})
      await expect(gateway.workspaces.seal(task.id)).rejects.toThrow(/no snapshot yet/)
    }
  })

  test('a bundle gives its HEAD or the named branch', async () => {
    const { path, git } = repository()
    git('commit', '-q', '--allow-empty', '-m', 'one')
    git('branch', 'old')
    git('commit', '-q', '--allow-empty', '-m', 'two')
    git('bundle', 'create', '-q', 'all.bundle', 'HEAD', 'main', 'old')
    git('bundle', 'create', '-q', 'part.bundle', 'old..main')
    const gateway = await startGitGateway()
    const upload = async (name: string, from?: string) => {
      const task = await gateway.newTask()
      await gateway.workspaces.acceptBundle(task.id, Readable.from([readFileSync(join(path, name))]), from)
      return (await gateway.workspaces.seal(task.id)).snapshot
    }
    expect(await upload('all.bundle')).toBe(git('rev-parse', 'main'))
    expect(await upload('all.bundle', 'old')).toBe(git('rev-parse', 'old'))
    await expect(upload('all.bundle', 'nope')).rejects.toThrow(/does not hold nope; it holds HEAD/)
    await expect(upload('part.bundle')).rejects.toThrow(/cannot be used.*prerequisite/i)
    writeFileSync(join(path, 'rubbish'), 'rubbish')
    await expect(upload('rubbish')).rejects.toThrow(/cannot be used/)
  })
})

describe('a workspace', () => {
  test('is copied for a retry, compared, measured and deleted', async () => {
    const gateway = await startGitGateway()
    const { path, git } = project()
    const first = await send(gateway, path, { project: 'p' }, 2)
    const { workspaces } = gateway
    expect(await workspaces.seal(first.task.id)).toEqual(await workspaces.seal(first.task.id))
    const retry = await gateway.newTask({ project: 'p' })
    await workspaces.copyFrom(retry.id, first.task.id, [REFS.snapshot, REFS.base])
    const sealed = await workspaces.seal(retry.id)
    expect(sealed).toEqual({ snapshot: first.commit, base: git('rev-parse', 'HEAD') })
    expect(gitIn(retry.repository)('fsck', '--connectivity-only')).toBe('')

    writeFileSync(join(path, 'big0'), randomBytes(1_000))
    writeFileSync(join(path, 'text'), 'a\nb\n')
    writeFileSync(join(path, '.gitattributes'), '* diff=evil -text\n')
    const next = await send(gateway, path, { project: 'p' }, 2)
    await workspaces.seal(next.task.id)
    const range = { from: REFS.base, to: REFS.snapshot }
    expect(await workspaces.diffStat(next.task.id, range)).toEqual({ files: 3, insertions: 3, deletions: 0 })
    const patch = await buffer(await workspaces.diff(next.task.id, range))
    const clean = join(temporary(), 'clean')
    git('clone', '-q', path, clean)
    writeFileSync(join(clean, 'patch'), patch)
    gitIn(clean)('apply', 'patch')
    expect(readFileSync(join(clean, 'big0'))).toEqual(readFileSync(join(path, 'big0')))
    await expect(workspaces.diff(next.task.id, { from: REFS.base, to: 'nope' })).rejects.toThrow(/holds no commit nope/)
    await expect(workspaces.diff(next.task.id, { from: '--output=/tmp/x', to: REFS.base })).rejects.toThrow(
      /holds no commit/,
    )

    expect(await workspaces.diskUsage(first.task.id)).toBeGreaterThan(100_000)
    await workspaces.delete(first.task.id)
    await workspaces.delete(first.task.id)
    expect(existsSync(first.task.repository)).toBe(false)
    await expect(workspaces.refs(first.task.id)).rejects.toMatchObject({ code: 'not_found' })
    await expect(workspaces.access(newTaskId(), 'owner')).rejects.toMatchObject({ code: 'not_found' })
  })

  test('a patch of a large change streams, and stops when its reader does', async () => {
    const gateway = await startGitGateway()
    const { path } = repository()
    const task = await send(gateway, path, {})
    writeFileSync(join(path, 'large'), Array.from({ length: 200_000 }, (_, line) => `line ${line}\n`).join(''))
    const next = await send(gateway, path, {})
    const range = { from: `${REFS.snapshot}`, to: REFS.snapshot }
    expect(await text(await gateway.workspaces.diff(task.task.id, range))).toBe('')
    const empty = gitIn(next.task.repository)('mktree', '--missing')
    const patch = await gateway.workspaces.diff(next.task.id, { from: empty, to: REFS.snapshot })
    for await (const _chunk of patch) break
    await until(() => gitProcesses(`diff-tree -r -p --binary`) === 0)
    expect(patch.destroyed).toBe(true)
  })
})
