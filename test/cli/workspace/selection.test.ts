import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { git as run } from '../../../cli/workspace/git.ts'
import type { Selection } from '../../../cli/workspace/selection.ts'
import { takeSnapshot } from '../../../cli/workspace/snapshot.ts'
import { type Survey, surveyedBytes } from '../../../cli/workspace/survey.ts'
import { gitIn, repository, temporary } from '../../gateway/workspaces/git-gateway.ts'

const write = (root: string, name: string, content = name) => {
  mkdirSync(dirname(join(root, name)), { recursive: true })
  writeFileSync(join(root, name), content)
}

/** What is in the snapshot of `path`, by name; and what was said before it was taken. */
async function snapshotOf(path: string, selection: Partial<Selection> = {}, sent?: string) {
  let survey: Survey | undefined
  await using snapshot = await takeSnapshot(path, {
    selection: { include: [], exclude: [], ...selection },
    sentBefore: async () => (sent === undefined ? undefined : [sent]),
    look: async (seen) => {
      survey = seen
    },
  })
  const at = { mode: 'own', cwd: snapshot.scratch.directory, env: { GIT_DIR: snapshot.scratch.gitDir } } as const
  const { stdout } = await run(['ls-tree', '-r', '-z', '--name-only', snapshot.commit], at)
  const show = async (file: string) => (await run(['show', `${snapshot.commit}:${file}`], at)).stdout
  const contents = Object.fromEntries(
    await Promise.all(
      stdout
        .split('\0')
        .filter(Boolean)
        .map(async (file) => [file, await show(file)] as const),
    ),
  )
  if (survey === undefined) throw new Error('it was not looked at')
  return { names: Object.keys(contents).sort(), contents, survey, warnings: snapshot.warnings, base: snapshot.base }
}

/** Committed: kept, tracked/data.bin. Untracked: new, data/{a,b}, deep/data/c, deep/x.mp4. Ignored: local.json, models/m. */
function messy() {
  const { path, git } = repository()
  write(path, '.gitignore', 'local.json\nmodels/\n')
  write(path, 'kept')
  write(path, 'tracked/data.bin', 'committed')
  git('add', '.')
  git('commit', '-q', '-m', 'first')
  for (const name of ['new', 'data/a', 'data/b', 'deep/data/c', 'deep/x.mp4', 'local.json', 'models/m'])
    write(path, name)
  return { path, git }
}
const COMMITTED = ['.gitignore', 'kept', 'tracked/data.bin']

test.each([
  ['nothing', {}, ['data/a', 'data/b', 'deep/data/c', 'deep/x.mp4', 'new']],
  ['a name, at any depth', { exclude: ['data/'] }, ['deep/x.mp4', 'new']],
  ['a folder at the top', { exclude: ['/data'] }, ['deep/data/c', 'deep/x.mp4', 'new']],
  ['a path', { exclude: ['deep/data/c'] }, ['data/a', 'data/b', 'deep/x.mp4', 'new']],
  ['a wildcard', { exclude: ['*.mp4', 'n?w'] }, ['data/a', 'data/b', 'deep/data/c']],
  ['a double star', { exclude: ['deep/**'] }, ['data/a', 'data/b', 'new']],
  [
    'what is ignored, by file',
    { include: ['local.json'] },
    ['data/a', 'data/b', 'deep/data/c', 'deep/x.mp4', 'local.json', 'new'],
  ],
  ['what is ignored, by folder', { include: ['models'], exclude: ['data', 'deep'] }, ['models/m', 'new']],
  [
    'what both name: out',
    { include: ['models', 'local.json'], exclude: ['models/m', 'data', 'deep'] },
    ['local.json', 'new'],
  ],
])('a selection of %s', async (_, selection, untracked) => {
  const { path, git } = messy()
  const before = git('status', '--porcelain', '--ignored')
  const { names, survey } = await snapshotOf(path, selection)
  expect(names).toEqual([...COMMITTED, ...untracked].sort())
  expect(survey.untracked.map((file) => file.path).sort()).toEqual([...untracked].sort())
  expect(survey.files).toBe(names.length)
  expect(git('status', '--porcelain', '--ignored')).toBe(before)
})

test('what is committed goes along as in HEAD when it is excluded, whatever was changed or staged', async () => {
  const { path, git } = messy()
  write(path, 'tracked/data.bin', 'changed')
  write(path, 'tracked/staged.bin', 'staged and new')
  git('add', 'tracked')
  write(path, 'kept', 'changed too')
  const { contents, warnings, survey } = await snapshotOf(path, { exclude: ['*.bin', 'data', 'deep', 'new'] })
  expect(contents).toEqual({
    '.gitignore': 'local.json\nmodels/\n',
    kept: 'changed too',
    'tracked/data.bin': 'committed',
  })
  expect(warnings).toEqual([
    'tracked/data.bin matches --exclude and is committed: sent as in HEAD, without your changes',
  ])
  expect(survey.changed).toEqual([{ path: 'kept', bytes: 11 }])
  expect(git('diff', '--cached', '--name-only')).toBe('tracked/data.bin\ntracked/staged.bin')
})

test('what is staged and excluded stays behind before the first commit, too', async () => {
  const { path, git } = repository()
  write(path, 'a')
  write(path, 'secret')
  git('add', '.')
  expect((await snapshotOf(path, { exclude: ['secret'] })).names).toEqual(['a'])
})

test('a folder that is no repository can be selected from', async () => {
  const path = temporary('plain')
  for (const name of ['a', 'b', 'c/b']) write(path, name)
  expect((await snapshotOf(path, { exclude: ['b'] })).names).toEqual(['a'])
})

test('odd names are matched as git matches them', async () => {
  const { path } = repository()
  for (const name of ['new\nline', '[x]', 'x', ':(top)y', 'ünï']) write(path, name)
  expect((await snapshotOf(path, { exclude: ['new\nline', '\\[x\\]', ':(top)y', 'ünï'] })).names).toEqual(['x'])
})

test.each([
  ['!kept', 'nothing can be taken back'],
  ['', 'everything or nothing'],
  ['/', 'everything or nothing'],
  ['../other', 'leaves the folder'],
  ['a/../../b', 'leaves the folder'],
])('the pattern %j is refused', async (pattern, message) => {
  const { path } = messy()
  const refused = expect.objectContaining({ code: 'invalid', message: expect.stringContaining(message) })
  await expect(snapshotOf(path, { exclude: [pattern] })).rejects.toEqual(refused)
  await expect(snapshotOf(path, { include: [pattern] })).rejects.toEqual(refused)
})

test('what would be sent is counted: history once, and each file that differs from HEAD', async () => {
  const { path, git } = repository()
  write(path, 'large', Array.from({ length: 50_000 }, () => Math.random().toString(36)).join(''))
  write(path, 'gone')
  write(path, 'same')
  git('add', '.')
  git('commit', '-q', '-m', 'first')
  const first = await snapshotOf(path)
  expect(first.survey.historyBytes).toBeGreaterThan(250_000)
  expect(first.survey.historyBytes).toBeLessThan(500_000)
  expect(first.survey).toMatchObject({ files: 3, changed: [], untracked: [] })

  git('commit', '-q', '--allow-empty', '-m', 'second')
  write(path, 'same', 'not any more')
  git('rm', '-q', '--cached', 'gone')
  write(path, 'untracked', 'x'.repeat(1_000))
  const second = await snapshotOf(path, {}, first.base)
  expect(second.survey.historyBytes).toBeLessThan(500)
  expect(second.survey.changed.map((file) => file.path)).toContain('same')
  expect(surveyedBytes(second.survey)).toBeLessThan(3_000)
  // A commit that is not here, as after a rebase and gc: everything counts.
  const unknown = await snapshotOf(path, {}, 'a'.repeat(40))
  expect(unknown.survey.historyBytes).toBeGreaterThan(250_000)
})

test('history beyond the depth does not count', async () => {
  const { path, git } = repository()
  write(path, 'large', Array.from({ length: 50_000 }, () => Math.random().toString(36)).join(''))
  git('add', '.')
  git('commit', '-q', '-m', 'large')
  git('rm', '-q', 'large')
  git('commit', '-q', '-m', 'small')
  let bytes = -1
  const look = async (survey: Survey) => {
    bytes = survey.historyBytes
  }
  await using _all = await takeSnapshot(path, { look })
  expect(bytes).toBeGreaterThan(250_000)
  await using _one = await takeSnapshot(path, { look, depth: 1 })
  expect(bytes).toBeLessThan(1_000)
})

test('who says no to it stops it before a byte is read, and nothing is left behind', async () => {
  const { path, git } = messy()
  const before = git('count-objects', '-v')
  const refused = new Error('no')
  await expect(takeSnapshot(path, { look: () => Promise.reject(refused) })).rejects.toBe(refused)
  expect(git('count-objects', '-v')).toBe(before)
  expect(gitIn(path)('status', '--porcelain')).toContain('?? new')
})

test('files that probably hold a secret are named: by name, by content, when they are included; not when they are examples', async () => {
  const { path, git } = repository()
  write(path, '.gitignore', '.env.production\n')
  write(path, 'id_rsa', 'tracked, so it is known')
  git('add', '.')
  git('commit', '-q', '-m', 'first')
  for (const name of [
    '.env',
    'sub/.env.local',
    '.env.example',
    'server.key',
    'id_ed25519.pub',
    'secrets.yaml',
    'notes.md',
  ])
    write(path, name, 'x')
  write(path, '.env.production', 'A=1')
  write(path, 'harmless.txt', `-----BEGIN OPENSSH PRIVATE KEY-----\n`)
  write(path, 'config.js', `const key = "AKIAABCDEFGHIJKLMNOP"`)
  write(path, '.npmrc', '//registry.npmjs.org/:_authToken=npm_abc\n')
  write(path, 'safe.npmrc', `//registry.npmjs.org/:_authToken=${'$'}{NPM_TOKEN}\n`)
  write(path, 'cert.pem', '-----BEGIN CERTIFICATE-----\n')
  symlinkSync('/etc/shadow', join(path, 'link'))
  const { survey } = await snapshotOf(path, { include: ['.env.production'] })
  expect(Object.fromEntries(survey.secrets.map((file) => [file.path, file.why]))).toEqual({
    '.env': 'variables of an environment',
    '.env.production': 'variables of an environment',
    'sub/.env.local': 'variables of an environment',
    'server.key': 'a private key',
    'secrets.yaml': 'secrets',
    'harmless.txt': 'a private key',
    'config.js': 'an AWS access key',
    '.npmrc': 'a token of a package registry',
  })
})
