import { execFileSync } from 'node:child_process'
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { PatchLines } from '../../cli/patch.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'

test("files and counts of a patch are git's own", () => {
  const folder = temporaryDirectory()
  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=a', '-c', 'user.email=a@b', '-c', 'diff.renames=true', ...args], {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, GIT_CONFIG_NOSYSTEM: '1' },
      encoding: 'utf8',
    })
  git('init', '-q')
  mkdirSync(join(folder, 'a b'))
  writeFileSync(join(folder, 'dashes.sql'), '-- a comment\n++ odd\nkeep\n')
  writeFileSync(join(folder, 'a b', 'with space.txt'), 'one\ntwo\n')
  writeFileSync(join(folder, 'moved.txt'), Array.from({ length: 20 }, (_, at) => `line ${at}\n`).join(''))
  writeFileSync(join(folder, 'gone.txt'), 'x\ny')
  git('add', '.')
  git('commit', '-qm', 'one')
  writeFileSync(join(folder, 'dashes.sql'), 'keep\n--- a/looks like a header\n+++ b/so does this\n')
  writeFileSync(join(folder, 'a b', 'with space.txt'), 'one\n2\nthree') // no newline at the end
  renameSync(join(folder, 'moved.txt'), join(folder, 'is here.txt'))
  rmSync(join(folder, 'gone.txt'))
  writeFileSync(join(folder, 'tab\tquote"ü.txt'), 'odd\n')
  writeFileSync(join(folder, 'empty.txt'), '')
  writeFileSync(join(folder, 'data.bin'), Buffer.from([0, 1, 2, 255]))
  symlinkSync('target', join(folder, 'link'))
  git('add', '-A')

  const lines = new PatchLines()
  for (const line of git('diff', '--cached', '--binary', '--full-index').split('\n').slice(0, -1)) lines.take(line)

  const numstat = git('diff', '--cached', '--numstat', '-z').split('\0')
  const expected: object[] = []
  for (let at = 0; at < numstat.length - 1; at++) {
    const [added, removed, path] = (numstat[at] ?? '').split('\t')
    const isRename = path === ''
    expected.push({
      path: isRename ? numstat[at + 2] : (numstat[at] ?? '').split('\t').slice(2).join('\t'),
      insertions: added === '-' ? 0 : Number(added),
      deletions: removed === '-' ? 0 : Number(removed),
      binary: added === '-',
    })
    if (isRename) at += 2
  }
  expect(expected.length).toBe(8)
  expect(lines.files).toEqual(expected)
})

test('files of submodules say which, as a patch of several repositories names them', () => {
  const lines = new PatchLines()
  const patch = [
    'diff --git a/x b/x',
    'Submodule libs/ü a:',
    'diff --git a/libs/ü a/y b/libs/ü a/y',
    '@@ -0,0 +1 @@',
    '+Submodule z:',
  ]
  for (const line of [...patch, 'diff --git a/libs/ü a/z b/libs/ü a/z']) lines.take(line)
  expect(lines.files.map(({ path, submodule }) => [path, submodule])).toEqual([
    ['x', undefined],
    ['libs/ü a/y', 'libs/ü a'],
    ['libs/ü a/z', 'libs/ü a'],
  ])
})
