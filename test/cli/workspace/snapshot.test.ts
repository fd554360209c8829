import { execFileSync } from 'node:child_process'
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
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { pushSnapshot } from '../../../cli/workspace/push.ts'
import { takeSnapshot } from '../../../cli/workspace/snapshot.ts'
import { gitIn, repository, startGitGateway, temporary } from '../../gateway/workspaces/git-gateway.ts'

/** Everything of a repository that a snapshot must leave alone. */
function fingerprint(path: string) {
  const git = gitIn(path)
  const index = join(git('rev-parse', '--absolute-git-dir'), 'index')
  return {
    status: git('status', '--porcelain=v2', '-z', '--untracked-files=all'),
    index: existsSync(index) ? readFileSync(index).toString('base64') : undefined,
    indexTime: existsSync(index) ? statSync(index).mtimeMs : undefined,
    refs: git('for-each-ref'),
    stash: git('stash', 'list'),
    objects: git('count-objects', '-v'),
    gitDir: readdirSync(git('rev-parse', '--absolute-git-dir')).sort(),
  }
}

/** Takes a snapshot, sends it to a fresh task, and gives back the task's repository. */
async function sendFrom(folder: string, options: Parameters<typeof takeSnapshot>[1] = {}) {
  const gateway = await startGitGateway()
  await using snapshot = await takeSnapshot(folder, options)
  const task = await gateway.newTask({ objectFormat: snapshot.objectFormat })
  await pushSnapshot(snapshot, task)
  await gateway.workspaces.seal(task.id)
  const { commit, base, dirty, warnings } = snapshot
  return { at: gitIn(task.repository), task, gateway, commit, base, dirty, warnings }
}

const names = (text: string) => text.split('\0').filter(Boolean).sort()

describe('snapshot', () => {
  test('holds tracked changes and untracked files, and leaves the repository untouched', async () => {
    const { path, git } = repository()
    writeFileSync(join(path, 'kept.txt'), 'one\n')
    writeFileSync(join(path, 'gone.txt'), 'x\n')
    writeFileSync(join(path, '.gitignore'), 'ignored\n')
    git('add', '.')
    git('commit', '-q', '-m', 'first')
    writeFileSync(join(path, 'stashed.txt'), 's')
    git('stash', '-u', '-q')
    writeFileSync(join(path, 'kept.txt'), 'two\n')
    writeFileSync(join(path, 'staged.txt'), 'staged')
    git('add', 'staged.txt')
    rmSync(join(path, 'gone.txt'))
    writeFileSync(join(path, 'new.txt'), 'new')
    writeFileSync(join(path, 'ignored'), 'no')
    // A snapshot that added to the object store would change the status' own refresh as well, so look twice.
    fingerprint(path)
    const before = fingerprint(path)
    const { at, base, commit, dirty } = await sendFrom(path)
    expect(fingerprint(path)).toEqual(before)
    expect(dirty).toBe(true)
    expect(base).toBe(git('rev-parse', 'HEAD'))
    expect(at('rev-parse', 'refs/heads/snapshot')).toBe(commit)
    expect(at('rev-parse', 'refs/heads/base')).toBe(base)
    expect(at('rev-parse', 'refs/heads/snapshot^')).toBe(base)
    expect(names(at('ls-tree', '-r', '-z', '--name-only', 'refs/heads/snapshot'))).toEqual(
      ['.gitignore', 'kept.txt', 'new.txt', 'staged.txt'].sort(),
    )
    expect(at('show', 'refs/heads/snapshot:kept.txt')).toBe('two')
  })

  test('is HEAD itself when nothing differs', async () => {
    const { path, git } = repository()
    writeFileSync(join(path, 'a'), 'a')
    git('add', '.')
    git('commit', '-q', '-m', 'first')
    const { commit, dirty, at } = await sendFrom(path)
    expect(commit).toBe(git('rev-parse', 'HEAD'))
    expect(dirty).toBe(false)
    expect(at('log', '--format=%s', 'refs/heads/snapshot')).toBe('first')
  })

  test('keeps odd names, modes, links and binary content', async () => {
    const { path } = repository()
    const odd = [
      'new\nline',
      'quo"te',
      "apo'strophe",
      '-dash',
      'tab\there',
      'ünïcode',
      ' space ',
      'back\\slash',
      ':(top)x',
    ]
    for (const name of odd) writeFileSync(join(path, name), name)
    writeFileSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0xff, 0xfe, 0x41])]), 'bytes')
    const binary = Buffer.from(Array.from({ length: 1024 }, (_, index) => index % 256))
    writeFileSync(join(path, 'binary'), binary)
    writeFileSync(join(path, 'run.sh'), '#!/bin/sh\n')
    chmodSync(join(path, 'run.sh'), 0o755)
    symlinkSync('run.sh', join(path, 'link'))
    symlinkSync('/nowhere', join(path, 'dangling'))
    const { at, task, base, commit } = await sendFrom(path)
    expect(base).toBeUndefined()
    const listed = execFileSync('git', ['ls-tree', '-r', '-z', '--name-only', commit], {
      cwd: task.repository,
    }).toString('latin1')
    for (const name of odd) expect(names(listed)).toContain(Buffer.from(name).toString('latin1'))
    expect(names(listed)).toContain('\xff\xfeA')
    expect(at('ls-tree', commit, 'run.sh', 'link', 'dangling')).toMatch(
      /120000.*dangling\n120000.*link\n100755.*run.sh/,
    )
    expect(execFileSync('git', ['cat-file', 'blob', `${commit}:binary`], { cwd: task.repository })).toEqual(binary)
  })

  test('works in an empty folder of an empty repository', async () => {
    const { path } = repository()
    const { at, base } = await sendFrom(path)
    expect(base).toBeUndefined()
    expect(at('ls-tree', '-r', 'refs/heads/snapshot')).toBe('')
  })

  test('works in a folder that is no repository, and makes none there', async () => {
    const path = temporary('plain')
    mkdirSync(join(path, 'sub'))
    writeFileSync(join(path, 'sub', 'file'), 'x')
    const { at, base } = await sendFrom(path)
    expect(base).toBeUndefined()
    expect(at('ls-tree', '-r', '--name-only', 'refs/heads/snapshot')).toBe('sub/file')
    expect(readdirSync(path)).toEqual(['sub'])
  })

  test('bounds history, also in a shallow clone and with merges', async () => {
    const { path, git } = repository()
    for (let count = 1; count <= 8; count++) git('commit', '-q', '--allow-empty', '-m', `c${count}`)
    git('checkout', '-q', '-b', 'side', 'HEAD~2')
    git('commit', '-q', '--allow-empty', '-m', 'side')
    git('checkout', '-q', 'main')
    git('merge', '-q', '--no-ff', '-m', 'merge', 'side')
    const bounded = await sendFrom(path, { depth: 3 })
    expect(bounded.at('log', '--format=%s', 'refs/heads/snapshot').split('\n').sort()).toEqual(
      ['c6', 'c7', 'c8', 'merge', 'side'].sort(),
    )
    const whole = await sendFrom(path, { depth: Number.POSITIVE_INFINITY })
    expect(whole.at('rev-list', '--count', 'refs/heads/snapshot')).toBe('10')
    const clone = join(temporary('clone'), 'c')
    git('clone', '-q', '--depth', '2', `file://${path}`, clone)
    writeFileSync(join(clone, 'x'), 'x')
    const before = fingerprint(clone)
    const shallow = await sendFrom(clone)
    expect(fingerprint(clone)).toEqual(before)
    expect(shallow.at('log', '--format=%s', 'refs/heads/base').split('\n').sort()).toEqual(['c8', 'merge', 'side'])
  })

  test.each([
    [
      'a linked worktree',
      (_path: string, git: (...args: string[]) => string) => {
        const tree = join(temporary('tree'), 'wt')
        git('worktree', 'add', '-q', tree, '-b', 'other')
        return { path: tree, expected: ['a', 'dir/b', 'new'] }
      },
    ],
    [
      'a sparse checkout',
      (path: string, git: (...args: string[]) => string) => {
        git('sparse-checkout', 'set', '--cone', '--sparse-index', 'nothing')
        return { path, expected: ['a', 'dir/b', 'new'] }
      },
    ],
    [
      'a split index',
      (path: string, git: (...args: string[]) => string) => {
        git('update-index', '--split-index')
        return { path, expected: ['a', 'dir/b', 'new'] }
      },
    ],
  ])('works in %s', async (_name, prepare) => {
    const { path, git } = repository()
    mkdirSync(join(path, 'dir'))
    writeFileSync(join(path, 'a'), 'a')
    writeFileSync(join(path, 'dir', 'b'), 'b')
    git('add', '.')
    git('commit', '-q', '-m', 'first')
    const place = prepare(path, git)
    writeFileSync(join(place.path, 'new'), 'new')
    const before = fingerprint(place.path)
    const { at } = await sendFrom(place.path)
    expect(fingerprint(place.path)).toEqual(before)
    expect(names(at('ls-tree', '-r', '-z', '--name-only', 'refs/heads/snapshot'))).toEqual(place.expected)
  })

  test('says which files a filter of the user keeps in another form, and sends that form', async () => {
    const { path, git } = repository()
    git('config', 'filter.crypt.clean', 'tr a-z n-za-m')
    git('config', 'filter.crypt.smudge', 'tr a-z n-za-m')
    git('config', 'filter.unused.clean', 'cat')
    writeFileSync(join(path, '.gitattributes'), '*.enc filter=crypt\n')
    writeFileSync(join(path, 'a.enc'), 'clear\n')
    writeFileSync(join(path, 'b.enc'), 'clear\n')
    git('add', '.')
    git('commit', '-q', '-m', 'first')
    const { at, commit, warnings } = await sendFrom(path)
    expect(at('show', `${commit}:a.enc`)).toBe('pyrne')
    expect(warnings).toEqual([
      'a.enc and 1 more went through git\'s filter "crypt", which the task does not have: it sees what git stores',
    ])
  })

  test('keeps the object format of a sha256 repository', async () => {
    const { path, git } = repository('--object-format=sha256')
    writeFileSync(join(path, 'a'), 'a')
    git('add', '.')
    git('commit', '-q', '-m', 'first')
    writeFileSync(join(path, 'b'), 'b')
    const { commit, at } = await sendFrom(path)
    expect(commit).toHaveLength(64)
    expect(at('ls-tree', '--name-only', 'refs/heads/snapshot')).toBe('a\nb')
  })

  test('leaves nested repositories out and says so, with and without commits', async () => {
    const { path } = repository()
    for (const name of ['with', 'deep/without']) {
      mkdirSync(join(path, name), { recursive: true })
      gitIn(join(path, name))('init', '-q')
      writeFileSync(join(path, name, 'inner'), 'x')
    }
    gitIn(join(path, 'with'))('add', '.')
    gitIn(join(path, 'with'))('commit', '-q', '-m', 'inner')
    writeFileSync(join(path, 'outer'), 'x')
    const { at, warnings } = await sendFrom(path)
    expect(at('ls-tree', '-r', '--name-only', 'refs/heads/snapshot')).toBe('outer')
    expect(warnings).toHaveLength(2)
    expect(warnings.join()).toContain('deep/without/ is a git repository of its own')
  })

  test('refuses an unresolved merge and names the files', async () => {
    const { path, git } = repository()
    const commit = (text: string) => {
      writeFileSync(join(path, 'file'), text)
      git('add', '.')
      git('commit', '-q', '-m', text)
    }
    commit('base')
    git('checkout', '-q', '-b', 'side')
    commit('theirs')
    git('checkout', '-q', 'main')
    commit('ours')
    expect(() => git('merge', '-q', 'side')).toThrow()
    await expect(takeSnapshot(path)).rejects.toThrow(/1 unresolved merge conflict \(file\)/)
  })

  test('refuses a missing required filter and says what to install', async () => {
    const { path, git } = repository()
    git('config', 'filter.lfs.clean', 'git-lfs-that-is-not-here clean')
    git('config', 'filter.lfs.process', 'git-lfs-that-is-not-here filter-process') // a git-lfs of the machine's has no say
    git('config', 'filter.lfs.required', 'true')
    writeFileSync(join(path, '.gitattributes'), '*.bin filter=lfs\n')
    writeFileSync(join(path, 'big.bin'), 'big')
    await expect(takeSnapshot(path)).rejects.toThrow(/install git-lfs/)
  })

  test('sees a change made in the same second as the index was written', async () => {
    const { path, git } = repository()
    writeFileSync(join(path, 'racy'), 'one')
    git('add', '.')
    git('commit', '-q', '-m', 'first')
    writeFileSync(join(path, 'racy'), 'two') // same size, same second
    const { at } = await sendFrom(path)
    expect(at('show', 'refs/heads/snapshot:racy')).toBe('two')
  })

  test('is neither seen nor stopped by hooks, push settings, rewritten URLs and credential helpers', async () => {
    const { path, git } = repository()
    const trace = join(temporary('trace'), 'ran')
    for (const hook of ['pre-push', 'post-index-change', 'reference-transaction', 'pre-commit']) {
      writeFileSync(join(path, '.git', 'hooks', hook), `#!/bin/sh\necho ${hook} >> ${trace}\nexit 1\n`)
      chmodSync(join(path, '.git', 'hooks', hook), 0o755)
    }
    writeFileSync(join(path, 'a'), 'a')
    git('-c', 'core.hooksPath=/dev/null', 'add', '.')
    git('-c', 'core.hooksPath=/dev/null', 'commit', '-q', '-m', 'first')
    git('-c', 'core.hooksPath=/dev/null', 'tag', '-a', 'v1', '-m', 'v1')
    rmSync(trace, { force: true })
    const settings = join(temporary('config'), 'gitconfig')
    writeFileSync(
      settings,
      `[push]\n\tgpgSign = true\n\tfollowTags = true\n[url "http://127.0.0.1:9/"]\n\tinsteadOf = http://127.0.0.1\n[credential]\n\thelper = "!echo helper >> ${trace}"\n[core]\n\tfsmonitor = "echo monitor >> ${trace}"\n[commit]\n\tgpgSign = true\n`,
    )
    const own = process.env.GIT_CONFIG_GLOBAL
    process.env.GIT_CONFIG_GLOBAL = settings
    try {
      writeFileSync(join(path, 'b'), 'b')
      const { at } = await sendFrom(path)
      expect(at('for-each-ref', '--format=%(refname)')).toBe('refs/heads/base\nrefs/heads/snapshot')
      expect(existsSync(trace)).toBe(false)
    } finally {
      if (own === undefined) delete process.env.GIT_CONFIG_GLOBAL
      else process.env.GIT_CONFIG_GLOBAL = own
    }
  })

  test('leaves nothing in the temporary folder and shows progress', async () => {
    const { path } = repository()
    writeFileSync(join(path, 'a'), Buffer.alloc(300_000, 'x'))
    const gateway = await startGitGateway()
    const task = await gateway.newTask()
    const seen: string[] = []
    let scratch = ''
    {
      await using snapshot = await takeSnapshot(path)
      scratch = snapshot.scratch.directory
      const bytes = await pushSnapshot(snapshot, task, {
        onProgress: ({ phase, percent }) => seen.push(`${phase} ${percent}`),
      })
      expect(bytes).toBeGreaterThan(100)
    }
    expect(existsSync(scratch)).toBe(false)
    expect(seen).toContain('Writing objects 100')
  })

  test('tells a wrong token and an absent gateway apart, and asks for no password', async () => {
    const { path } = repository()
    const gateway = await startGitGateway()
    const task = await gateway.newTask()
    await using snapshot = await takeSnapshot(path)
    await expect(pushSnapshot(snapshot, { ...task, token: 'wrong' })).rejects.toMatchObject({ code: 'unauthenticated' })
    await expect(pushSnapshot(snapshot, { ...task, gateway: 'http://127.0.0.1:9' })).rejects.toMatchObject({
      code: 'unavailable',
    })
    await pushSnapshot(snapshot, task)
    await gateway.workspaces.seal(task.id)
    await using later = await takeSnapshot(path, { now: () => new Date(0) })
    await expect(pushSnapshot(later, task)).rejects.toMatchObject({ code: 'forbidden' })
  })
})
