/** What is saved of a workspace whose files hold secrets. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Leaks } from '../../../agent/run/leaks.ts'
import { Workspace } from '../../../agent/workspace/workspace.ts'
import { REFS } from '../../../protocol/run.ts'
import { gitIn, repository, startGitGateway, temporary } from '../../gateway/workspaces/git-gateway.ts'

const KEY = 'hunter2-hunter2-hunter2'
const message = 'work'

async function prepared() {
  const source = repository()
  writeFileSync(join(source.path, 'kept.txt'), 'as it was\n')
  writeFileSync(join(source.path, 'known.txt'), `${KEY} stood here before\n`)
  mkdirSync(join(source.path, 'folder'))
  writeFileSync(join(source.path, 'folder', 'inner'), 'inner\n')
  source.git('add', '.')
  source.git('commit', '-q', '-m', 'a')
  const gateway = await startGitGateway()
  const task = await gateway.newTask()
  const directory = temporary('placement')
  const work = join(directory, 'work')
  const workspace = new Workspace({
    taskId: task.id,
    work,
    state: join(directory, 'state'),
    author: { name: 'Agent', email: 'agent@example.com' },
    forward: gateway.forward(task.id),
  })
  await workspace.prepare({ kind: 'repo', url: `file://${source.path}`, depth: 1 })
  return { workspace, work, at: gitIn(task.repository), repository: task.repository }
}

/** Every object that lies on the gateway. */
const everything = (repository: string): string =>
  execFileSync('git', ['cat-file', '--batch-all-objects', '--batch'], { cwd: repository }).toString('latin1')

test('a file that holds a secret stays as it was, a new one stays out, and everybody is told where', async () => {
  const { workspace, work, at, repository: bare } = await prepared()
  writeFileSync(join(work, 'kept.txt'), `one\ntwo\nkey: ${KEY}-kept\n`)
  mkdirSync(join(work, 'new'))
  writeFileSync(join(work, 'new', 'ü\n.bin'), Buffer.concat([Buffer.alloc(300_000), Buffer.from(`${KEY}-new`)]))
  writeFileSync(join(work, 'encoded'), Buffer.from(`user:${KEY}`).toString('base64'))
  writeFileSync(join(work, 'fine.txt'), 'fine\n')
  symlinkSync(`/${KEY}`, join(work, 'link'))
  const leaks = new Leaks({ API_KEY: KEY })
  const saved = await workspace.result({ message, leaks })
  expect(saved?.withheld).toEqual([
    { path: 'encoded', line: 1, secret: 'API_KEY' },
    { path: 'kept.txt', line: 3, secret: 'API_KEY' },
    { path: 'link', line: 1, secret: 'API_KEY' },
    { path: 'new/ü\n.bin', line: 1, secret: 'API_KEY' },
  ])
  expect(saved).toMatchObject({ filesChanged: 1, insertions: 1, deletions: 0 })
  expect(at('diff', '--name-status', REFS.snapshot, REFS.result)).toBe('A\tfine.txt')
  for (const text of [`${KEY}-kept`, `${KEY}-new`, Buffer.from(`user:${KEY}`).toString('base64'), `/${KEY}`])
    expect(everything(bare)).not.toContain(text)
  expect(readFileSync(join(work, 'kept.txt'), 'utf8')).toContain(KEY) // the work itself is left alone
})

test('checkpoints withhold as well, and a file that is cleaned up is saved', async () => {
  const { workspace, work, at, repository: bare } = await prepared()
  const leaks = new Leaks({ API_KEY: KEY })
  writeFileSync(join(work, 'a.txt'), `${KEY}-checkpoint`)
  expect(await workspace.checkpoint({ message, leaks })).toBeUndefined() // nothing that may be saved changed
  writeFileSync(join(work, 'b.txt'), 'b')
  expect(await workspace.checkpoint({ message, leaks })).toMatchObject({
    filesChanged: 1,
    withheld: [{ path: 'a.txt' }],
  })
  writeFileSync(join(work, 'a.txt'), 'a')
  expect(await workspace.result({ message, leaks })).toMatchObject({ filesChanged: 2, withheld: [] })
  expect(at('show', `${REFS.result}:a.txt`)).toBe('a')
  expect(everything(bare)).not.toContain(`${KEY}-checkpoint`)
})

test('what the snapshot held already is no news, and a deleted file is deleted', async () => {
  const { workspace, work, at } = await prepared()
  writeFileSync(join(work, 'known.txt'), `changed, but ${KEY} stood here before\n`)
  rmSync(join(work, 'kept.txt'))
  const saved = await workspace.result({ message, leaks: new Leaks({ API_KEY: KEY }) })
  expect(saved?.withheld).toEqual([])
  expect(at('diff', '--name-status', REFS.snapshot, REFS.result)).toBe('D\tkept.txt\nM\tknown.txt')
})

test('a name that holds a secret is withheld, and so is a file in the place of a folder', async () => {
  const { workspace, work, at } = await prepared()
  writeFileSync(join(work, `${KEY}.txt`), 'harmless')
  rmSync(join(work, 'folder'), { recursive: true })
  writeFileSync(join(work, 'folder'), KEY)
  const saved = await workspace.result({ message, leaks: new Leaks({ API_KEY: KEY }) })
  expect(saved?.withheld).toEqual([
    { path: 'folder', line: 1, secret: 'API_KEY' },
    { path: `${KEY}.txt`, secret: 'API_KEY' },
  ])
  expect(at('diff', '--name-status', REFS.snapshot, REFS.result)).toBe('D\tfolder/inner')
})
