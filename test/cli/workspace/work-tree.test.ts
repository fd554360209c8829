import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { takeSnapshot } from '../../../cli/workspace/snapshot.ts'
import { gitIn, repository, temporary } from '../../gateway/workspaces/git-gateway.ts'
import { gitCalls } from '../../helpers/git-calls.ts'

function project() {
  const inner = repository()
  writeFileSync(join(inner.path, 'inner.txt'), 'inner\n')
  inner.git('add', '.')
  inner.git('commit', '-q', '-m', 'inner')
  const top = repository()
  writeFileSync(join(top.path, '.gitignore'), 'local.*\n')
  top.git('add', '.')
  top.git('-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', inner.path, 'sub')
  top.git('commit', '-q', '-m', 'top')
  writeFileSync(join(top.path, 'local.json'), '{}')
  writeFileSync(join(top.path, 'local.txt'), 'local')
  return top.path
}

const include = { selection: { exclude: [], include: ['local.*'] } }

test('what was looked at to say what would be sent is not looked at again to capture it', async () => {
  const path = project()
  const calls = await gitCalls(temporary('calls'), async () => {
    await using _snapshot = await takeSnapshot(path, { ...include, look: async () => {} })
  })
  const started = (beginning: string) => calls.filter((call) => call.startsWith(beginning)).length
  // Once in each of the two repositories.
  expect(started('ls-files -o -z --exclude-standard')).toBe(2)
  expect(started('rev-parse --path-format=absolute --show-toplevel')).toBe(2)
  expect(started('ls-files -u')).toBe(0)
  const bare = await gitCalls(temporary('calls'), async () => {
    await using _snapshot = await takeSnapshot(path, include)
  })
  // Only the difference to HEAD of each, and what the history weighs.
  expect(calls.length - bare.length).toBe(3)
})

test('a file that is gone when the user has agreed is left out, and one that changed goes along as it is then', async () => {
  const path = project()
  let seen: string[] = []
  await using snapshot = await takeSnapshot(path, {
    ...include,
    look: async ({ untracked }) => {
      seen = untracked.map((file) => file.path)
      rmSync(join(path, 'local.txt'))
      writeFileSync(join(path, 'local.json'), '{"later":true}')
      writeFileSync(join(path, 'sub', 'inner.txt'), 'later\n')
    },
  })
  expect(seen).toEqual(['local.json', 'local.txt'])
  const git = gitIn(snapshot.scratch.gitDir)
  expect(git('show', `${snapshot.commit}:local.json`)).toBe('{"later":true}')
  expect(git('show', `${snapshot.commit}:sub/inner.txt`)).toBe('later')
  expect(git('ls-tree', '--name-only', snapshot.commit).split('\n')).not.toContain('local.txt')
})
