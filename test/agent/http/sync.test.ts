import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { linkId } from '../../../host/tree/content.ts'
import { FrameReader } from '../../../host/tree/frames.ts'
import { fromWire } from '../../../host/tree/names.ts'
import {
  SyncEntry,
  SyncFetched,
  SyncManifestHead,
  type SyncManifestRequest,
  SyncResult,
} from '../../../protocol/sync.ts'
import { onSmallDisk } from '../../helpers/small-disk.ts'
import { type Loopback, startLoopback, until } from './loopback.ts'

let agent: Loopback
let outside: string

beforeEach(async () => {
  agent = await startLoopback()
  outside = mkdtempSync(join(tmpdir(), 'rclaude-outside-'))
  writeFileSync(join(outside, 'secret'), 'secret')
})
afterEach(async () => {
  const { faults } = agent
  await agent.close()
  rmSync(outside, { recursive: true, force: true })
  expect(faults).toEqual([])
})

const at = (path: string) => join(agent.workspace, path)
const sha = (text: string | Buffer) => `sha256:${createHash('sha256').update(text).digest('hex')}`
const post = (path: string, body: string | Buffer) =>
  fetch(`${agent.url}/sync/${path}`, { method: 'POST', body: typeof body === 'string' ? body : new Uint8Array(body) })

async function manifest(asked: SyncManifestRequest = {}) {
  const response = await post('manifest', JSON.stringify(asked))
  expect(response.status).toBe(200)
  const [head = '', ...lines] = (await response.text()).trimEnd().split('\n')
  const entries = lines.map((line) => SyncEntry.parse(JSON.parse(line)))
  return { head: SyncManifestHead.parse(JSON.parse(head)), entries, paths: entries.map(({ path }) => fromWire(path)) }
}

const put = (path: string, text: string | Buffer, expected: string | null = null, more: object = {}): Buffer => {
  const bytes = Buffer.from(text)
  const line = {
    op: 'put',
    path,
    id: sha(bytes),
    size: bytes.length,
    mode: 0o644,
    mtimeMs: 1e12,
    expect: expected,
    ...more,
  }
  return Buffer.concat([Buffer.from(`${JSON.stringify(line)}\n`), bytes])
}
const plain = (line: object): Buffer => Buffer.from(`${JSON.stringify(line)}\n`)
const END = plain({ op: 'end' })

async function apply(operations: readonly Buffer[], folder = '') {
  const response = await post('apply', Buffer.concat([plain({ folder }), ...operations, END]))
  if (response.status !== 200)
    return { status: response.status, results: [], code: ((await response.json()) as { code: string }).code }
  const lines = (await response.text())
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as object)
  expect(lines.pop()).toEqual({ end: true })
  return { status: 200, results: lines.map((line) => SyncResult.parse(line)), code: undefined }
}
const done = async (...operations: Buffer[]) => (await apply(operations)).results.map((result) => result.done)

async function fetchFiles(paths: (string | { base64: string })[], folder = '') {
  const response = await post('fetch', JSON.stringify({ folder, paths }))
  expect(response.status).toBe(200)
  const frames = new FrameReader(response.body as unknown as AsyncIterable<Uint8Array>)
  const found: (string | { missing: string } | { link: string })[] = []
  for (;;) {
    const head = SyncFetched.parse(await frames.line())
    if ('end' in head) return found
    if ('missing' in head) found.push(head)
    else if (head.id.startsWith('link:')) found.push({ link: Buffer.from(head.id.slice(5), 'base64').toString() })
    else {
      const bytes = await frames.bytes(head.size)
      found.push(sha(bytes) === head.id ? bytes.toString() : 'not what was announced')
    }
  }
}

describe('a manifest', () => {
  it('names every file and link by what it holds, and nothing of git', async () => {
    mkdirSync(at('a/b'), { recursive: true })
    mkdirSync(at('.git'))
    writeFileSync(at('.git/config'), '')
    writeFileSync(at('a/b/f'), 'hello')
    chmodSync(at('a/b/f'), 0o755)
    symlinkSync('b/f', at('a/l'))
    symlinkSync('nowhere', at('dangling'))
    symlinkSync('loop', at('loop'))
    const { entries, head } = await manifest()
    expect(entries).toEqual([
      { path: 'a/b/f', id: sha('hello'), mode: 0o755, size: 5 },
      { path: 'a/l', id: linkId('b/f'), mode: 0o777, size: 0 },
      { path: 'dangling', id: linkId('nowhere'), mode: 0o777, size: 0 },
      { path: 'loop', id: linkId('loop'), mode: 0o777, size: 0 },
    ])
    expect(head).toMatchObject({ entries: 4, unchanged: false, exists: true, skipped: [] })
  })

  it('is one line when the client knows it, and whole again after any change', async () => {
    writeFileSync(at('f'), 'one')
    const first = await manifest()
    expect(await manifest({ known: first.head.digest })).toMatchObject({ head: { unchanged: true }, entries: [] })
    const old = new Date(Date.now() - 60_000)
    const changes = [
      () => writeFileSync(at('f'), 'two'), // as long as before
      () => utimesSync(at('f'), old, old),
      () => writeFileSync(at('f'), 'six'),
      () => utimesSync(at('f'), old, old), // only the inode's own time tells
      () => chmodSync(at('f'), 0o600),
      () => renameSync(at('f'), at('g')),
    ]
    let known = first.head.digest
    for (const [index, change] of changes.entries()) {
      change()
      const next = await manifest({ known })
      expect([index, next.head.unchanged]).toEqual([index, index === 1 || index === 3])
      known = next.head.digest
    }
  })

  it('waits for a change when the client asks for that, and not for a client that is gone', async () => {
    writeFileSync(at('f'), 'one')
    const { head } = await manifest()
    const waiting = manifest({ known: head.digest, waitSeconds: 40 })
    const leaving = new AbortController()
    const body = JSON.stringify({ known: head.digest, waitSeconds: 40 })
    const left = fetch(`${agent.url}/sync/manifest`, { method: 'POST', body, signal: leaving.signal })
    await until('both are asked', () => agent.sockets.size >= 2)
    leaving.abort()
    await expect(left).rejects.toThrow()
    writeFileSync(at('f'), 'two')
    expect((await waiting).entries).toMatchObject([{ path: 'f', id: sha('two') }])
    expect((await post('manifest', JSON.stringify({ waitSeconds: 1_000 }))).status).toBe(400)
  })

  it('keeps names of any bytes', async () => {
    const names = ['new\nline', 'ünï', ' lead', '"quoted"', '\u001b[31mred', '-rf']
    for (const name of names) writeFileSync(at(name), name)
    const odd = Buffer.from('bad\xff\xfe', 'latin1')
    writeFileSync(Buffer.concat([Buffer.from(`${agent.workspace}/`), odd]), 'odd')
    const { entries } = await manifest()
    const paths = entries.map(({ path }) => path)
    expect(paths).toContainEqual({ base64: odd.toString('base64') })
    expect(paths).toEqual(expect.arrayContaining(names))
    const texts = await fetchFiles(paths)
    expect(texts.sort()).toEqual([...names, 'odd'].sort())
  })

  it('leaves out what .gitignore names, where there is a repository and where there is none', async () => {
    mkdirSync(at('sub/node_modules'), { recursive: true })
    mkdirSync(at('sub/deep'))
    writeFileSync(at('.gitignore'), '*.log\nnode_modules/\n/top\n')
    writeFileSync(at('sub/.gitignore'), '!keep.log\n')
    for (const path of [
      'a.log',
      'top',
      'sub/top',
      'sub/keep.log',
      'sub/node_modules/x',
      'sub/deep/b.log',
      'sub/deep/c',
    ])
      writeFileSync(at(path), path)
    const expected = ['.gitignore', 'sub/.gitignore', 'sub/deep/c', 'sub/keep.log', 'sub/top']
    expect((await manifest()).paths).toEqual(expected)
    execFileSync('git', ['init', '-q'], { cwd: agent.workspace })
    expect((await manifest()).paths).toEqual(expected)
    writeFileSync(at('.git/info/exclude'), 'c\n')
    execFileSync('git', ['add', '-f', 'a.log'], { cwd: agent.workspace })
    expect((await manifest()).paths).toEqual(['.gitignore', 'a.log', 'sub/.gitignore', 'sub/keep.log', 'sub/top'])
    expect((await manifest({ ignore: false })).paths).toHaveLength(9)
    expect((await manifest({ exclude: ['sub/'], include: ['top'] })).paths).toEqual(['.gitignore', 'a.log', 'top'])
    // A folder that its repository ignores counts as one of its own.
    expect((await manifest({ folder: 'sub/node_modules' })).paths).toEqual(['x'])
  })

  it('holds the files of repositories inside the repository', async () => {
    const git = (cwd: string, ...args: string[]) =>
      execFileSync('git', ['-c', 'user.name=a', '-c', 'user.email=a@b', '-c', 'protocol.file.allow=always', ...args], {
        cwd,
        stdio: 'pipe',
      })
    mkdirSync(at('inner'))
    git(agent.workspace, 'init', '-q')
    git(at('inner'), 'init', '-q')
    writeFileSync(at('inner/f'), 'f')
    expect((await manifest()).paths).toEqual(['inner/f'])
    git(at('inner'), 'add', '.')
    git(at('inner'), 'commit', '-qm', 'x')
    git(agent.workspace, 'add', 'inner')
    writeFileSync(at('inner/new'), 'n')
    expect((await manifest()).paths).toEqual(['inner/f', 'inner/new'])
  })

  it('runs nothing that a repository names', async () => {
    execFileSync('git', ['init', '-q'], { cwd: agent.workspace })
    const trap = `touch ${join(outside, 'ran')}; false`
    for (const key of ['core.fsmonitor', 'core.pager', 'core.sshCommand', 'core.editor'])
      execFileSync('git', ['config', key, trap], { cwd: agent.workspace })
    execFileSync('git', ['config', 'core.worktree', outside], { cwd: agent.workspace })
    writeFileSync(at('f'), 'f')
    expect((await manifest()).paths).not.toContain('secret')
    expect(readdirSync(outside)).toEqual(['secret'])
  })

  it('names what cannot travel', async () => {
    execFileSync('mkfifo', [at('fifo')])
    symlinkSync(join(outside, 'secret'), at('out'))
    symlinkSync('../x', at('up'))
    const { head, paths } = await manifest()
    expect(paths).toEqual([])
    expect(head.skipped.map(({ path }) => path)).toEqual(['fifo', 'out', 'up'])
    expect(await fetchFiles(['fifo', 'missing', '../x', 'a/../b', '.git/config'])).toEqual([
      { missing: 'it is neither file nor link' },
      { missing: 'it is not there any more' },
      { missing: 'it leads elsewhere' },
      { missing: 'it leads elsewhere' },
      { missing: 'git directories never travel' },
    ])
  })

  it('of a folder that is not there is empty; one behind a link is refused', async () => {
    expect((await manifest({ folder: 'none/at/all' })).head).toMatchObject({ exists: false, entries: 0 })
    symlinkSync(outside, at('link'))
    expect((await post('manifest', JSON.stringify({ folder: 'link' }))).status).toBe(409)
    expect((await post('manifest', JSON.stringify({ folder: '../x' }))).status).toBe(400)
    expect((await post('fetch', JSON.stringify({ folder: 'link', paths: ['secret'] }))).status).toBe(409)
    expect((await apply([put('x', 'x')], 'link')).status).toBe(409)
    expect((await apply([put('x', 'x')], 'new/folder')).results).toEqual([{ done: 'applied' }])
    expect(readFileSync(at('new/folder/x'), 'utf8')).toBe('x')
    expect(readdirSync(outside)).toEqual(['secret'])
  })
})

describe('an upload', () => {
  it('writes files and links with their modes and times, and says so when they were there', async () => {
    const all = [
      put('a/b/f', 'one', null, { mode: 0o750 }),
      plain({ op: 'put', path: 'a/l', id: linkId('b/f'), size: 0, mode: 0o777, mtimeMs: 0, expect: null }),
      put('empty', ''),
    ]
    expect(await done(...all)).toEqual(['applied', 'applied', 'applied'])
    const stats = lstatSync(at('a/b/f'))
    expect([stats.mode & 0o777, stats.mtimeMs, stats.nlink]).toEqual([0o750, 1e12, 1])
    expect(readlinkSync(at('a/l'))).toBe('b/f')
    expect(await done(...all)).toEqual(['same', 'same', 'same'])
    expect(readdirSync(at('a/b'))).toEqual(['f'])
  })

  it('replaces and deletes only what it expects', async () => {
    writeFileSync(at('f'), 'theirs')
    expect(
      await done(
        put('f', 'mine'),
        put('f', 'mine', sha('old')),
        plain({ op: 'delete', path: 'f', expect: sha('old') }),
      ),
    ).toEqual(['conflict', 'conflict', 'conflict'])
    expect(readFileSync(at('f'), 'utf8')).toBe('theirs')
    expect(await done(put('f', 'mine', sha('theirs')))).toEqual(['applied'])
    expect(await done(plain({ op: 'mode', path: 'f', mode: 0o700, expect: sha('mine') }))).toEqual(['applied'])
    expect(lstatSync(at('f')).mode & 0o777).toBe(0o700)
    expect(await done(put('gone', 'x', sha('y')))).toEqual(['conflict'])
    mkdirSync(at('d/e'), { recursive: true })
    writeFileSync(at('d/e/x'), 'x')
    expect(await done(put('d', 'x'), put('f/below', 'x'))).toEqual(['conflict', 'conflict'])
    const remove = plain({ op: 'delete', path: 'd/e/x', expect: sha('x') })
    expect(await done(remove, remove, put('d', 'now a file'))).toEqual(['applied', 'same', 'applied'])
    expect(readdirSync(agent.workspace).sort()).toEqual(['d', 'f'])
  })

  it('lets one of many uploads win that expect the same', async () => {
    for (const [expected, name] of [
      [null, 'new'],
      [sha('base'), 'old'],
    ] as const) {
      if (expected !== null) writeFileSync(at(name), 'base')
      const all = await Promise.all(Array.from({ length: 8 }, (_, i) => done(put(name, `by ${i}`, expected))))
      expect(all.flat().filter((one) => one === 'applied')).toHaveLength(1)
    }
    expect(readdirSync(agent.workspace).sort()).toEqual(['new', 'old'])
  })

  it('refuses paths and links that escape, and goes on with the others', async () => {
    symlinkSync(outside, at('out'))
    const bad = [
      '../x',
      '/etc/x',
      'a//b',
      'a/./b',
      'a/../../x',
      '.git/hooks/post-checkout',
      'sub/.GIT/config',
      '.g\u200cit/x',
      'git~1/x',
      '',
    ]
    const link = (path: string, target: string) =>
      plain({ op: 'put', path, id: linkId(target), size: 0, mode: 0o777, mtimeMs: 0, expect: null })
    const { results } = await apply([
      ...bad.map((path) => put(path, 'x')),
      put('out/secret', 'x', sha('secret')),
      put('out/new', 'x'),
      link('l1', '/etc/passwd'),
      link('l2', '../up'),
      link('d/l3', '../../up'),
      link('l4', 'd/../../up'),
      link('d/l5', '../ok'),
      put('fine', 'x'),
    ])
    expect(results.slice(0, bad.length).map((one) => one.code)).toEqual(bad.map(() => 'invalid'))
    expect(results.slice(bad.length).map((one) => one.done)).toEqual([
      'conflict',
      'conflict',
      'error',
      'error',
      'error',
      'error',
      'applied',
      'applied',
    ])
    expect(readdirSync(outside)).toEqual(['secret'])
    expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('secret')
  })

  it('is not led out by a folder that turns into a link and back all the time', async () => {
    mkdirSync(at('d'))
    symlinkSync(outside, at('evil'))
    let isOver = false
    const swapping = (async () => {
      while (!isOver) {
        for (const [from, to] of [
          ['d', 'spare'],
          ['evil', 'd'],
          ['d', 'evil'],
          ['spare', 'd'],
        ] as const) {
          try {
            renameSync(at(from), at(to))
          } catch {
            // the other way round, for now
          }
          await new Promise((resolve) => setImmediate(resolve))
        }
      }
    })()
    const outcomes = new Set<string>()
    for (let i = 0; i < 100; i++) {
      const seen = await done(put(`d/f${i}`, 'x'))
      for (const one of seen) outcomes.add(one)
      await manifest({ ignore: false })
    }
    isOver = true
    await swapping
    expect(outcomes).toContain('applied')
    expect(readdirSync(outside)).toEqual(['secret'])
  })

  it('leaves the old file and nothing else when the client vanishes in the middle', async () => {
    for (const size of [100_000, 2_000_000]) {
      writeFileSync(at('f'), 'old')
      const bytes = Buffer.alloc(size, 'n')
      const whole = Buffer.concat([plain({ folder: '' }), put('done', 'whole'), put('f', bytes, sha('old'))])
      const call = request(`${agent.url}/sync/apply`, { method: 'POST' })
      call.on('error', () => {})
      call.write(whole.subarray(0, whole.length - 50_000))
      await until('the first is written', () => readdirSync(agent.workspace).includes('done'))
      call.destroy()
      await until('nothing temporary is left', () => readdirSync(agent.workspace).length === 2)
      expect(readFileSync(at('f'), 'utf8')).toBe('old')
      rmSync(at('done'))
    }
  })

  it('takes nothing whose bytes are not those announced', async () => {
    for (const size of [10, 2_000_000]) {
      const { results } = await apply([put('f', Buffer.alloc(size), null, { id: sha('others') }), put('next', 'fine')])
      expect(results).toMatchObject([{ done: 'error', code: 'changed' }, {}])
      expect(readdirSync(agent.workspace)).toEqual(['next'])
    }
  })

  it('says that the disk is full, keeps the old files, and reads the upload to its end', async (test) => {
    await onSmallDisk(test, at('disk'), '1m', async (disk) => {
      writeFileSync(join(disk, 'f'), 'old')
      const big = Buffer.alloc(3_000_000, 'x')
      const small = Buffer.alloc(400_000, 'y')
      const { results } = await apply(
        [
          put('s1', small),
          put('f', big, sha('old')),
          put('s2', 'tiny'),
          plain({ op: 'delete', path: 's1', expect: sha(small) }),
        ],
        'disk',
      )
      expect(results.map((one) => one.code ?? one.done)).toEqual(['applied', 'disk_full', 'disk_full', 'applied'])
      expect(readFileSync(join(disk, 'f'), 'utf8')).toBe('old')
      expect(readdirSync(disk)).toEqual(['f'])
    })
  })

  it('that is cut, or is none, is refused and has done what came whole', async () => {
    const bodies = [
      '',
      'no json\n',
      '{"folder":""}\n',
      '{"folder":""}\n{"op":"dance"}\n',
      `{"folder":""}\n${'x'.repeat(100_000)}`,
    ]
    for (const body of bodies) expect((await post('apply', body)).status, body.slice(0, 40)).toBe(400)
    const cut = Buffer.concat([plain({ folder: '' }), put('f', 'whole'), put('g', 'x'.repeat(1000)).subarray(0, 900)])
    expect((await post('apply', cut)).status).toBe(400)
    expect(readdirSync(agent.workspace)).toEqual(['f'])
  })
})

describe('a fetch', () => {
  it('gives many files of all sizes in the order asked for', async () => {
    const big = 'b'.repeat(3_000_000)
    writeFileSync(at('big'), big)
    writeFileSync(at('small'), 'small')
    writeFileSync(at('empty'), '')
    symlinkSync('small', at('link'))
    expect(await fetchFiles(['small', 'big', 'link', 'empty'])).toEqual(['small', big, { link: 'small' }, ''])
  })
})
