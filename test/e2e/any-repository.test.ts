/** Submodules and git-lfs through the whole product: the built CLI, a real gateway, a real agent, real git. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { whyNoLfs } from '../helpers/git-lfs.ts'
import { makeRepository } from '../helpers/repository.ts'
import { git, startWorld } from '../helpers/world.ts'

test('a submodule goes with its uncommitted work, and its change comes home by diff, pull and apply', async () => {
  const world = await startWorld()
  const library = await makeRepository(world, 'library')
  const folder = await makeRepository(world)
  await git(folder, '-c', 'protocol.file.allow=always', 'submodule', 'add', '-q', library, 'libs/a')
  await git(folder, 'commit', '-qm', 'libs/a')
  writeFileSync(join(folder, 'libs/a/notes.txt'), 'of the submodule\n')
  const rclaude = (...args: string[]) => world.cli(args, { cwd: folder, env: world.asAdmin })

  const script = 'git -C libs/a log --format=%s; cat libs/a/notes.txt; echo more >> libs/a/notes.txt; echo x > top.txt'
  const ran = await rclaude('run', '--unsandboxed', '--', 'sh', '-c', script)
  expect(ran, ran.stderr).toMatchObject({ code: 0 })
  expect(ran.stdout).toMatch(/Snapshot of the working tree\n.*first\n.*of the submodule/s)
  expect(ran.stderr + ran.stdout).not.toContain('left out')

  expect((await rclaude('diff', '@last')).stdout).toMatch(
    /^diff --git a\/top.txt(.|\n)*^Submodule libs\/a:\ndiff --git /m,
  )
  const own = await rclaude('diff', '@last', '--submodule', 'libs/a')
  expect(own.stdout).toMatch(/^diff --git a\/notes.txt b\/notes.txt\n/)
  expect(await rclaude('diff', '@last', '--submodule', 'libs')).toMatchObject({
    code: 125,
    stderr: expect.stringContaining('it has libs/a'),
  })
  const { files } = JSON.parse((await rclaude('diff', '@last', '--json')).stdout) as { files: unknown[] }
  expect(files).toMatchObject([{ path: 'top.txt' }, { path: 'libs/a/notes.txt', submodule: 'libs/a' }])

  const pulled = await rclaude('pull', '@last', '--json')
  const { branch, submodules } = JSON.parse(pulled.stdout) as { branch: string; submodules: unknown[] }
  expect(submodules).toMatchObject([{ path: 'libs/a', status: 'created' }])
  expect(await git(join(folder, 'libs/a'), 'show', `${branch}:notes.txt`)).toBe('of the submodule\nmore\n')

  const applied = await rclaude('apply', '@last', '--json')
  expect(JSON.parse(applied.stdout)).toMatchObject({
    status: 'applied',
    files: [
      { path: 'top.txt', status: 'A' },
      { path: 'libs/a/notes.txt', status: 'M', submodule: 'libs/a' },
    ],
  })
  expect(readFileSync(join(folder, 'libs/a/notes.txt'), 'utf8')).toBe('of the submodule\nmore\n')

  // another try has the submodule as well
  const retried = await rclaude('retry', '@last', '--unsandboxed')
  expect(retried, retried.stderr).toMatchObject({ code: 0 })
  expect(retried.stdout).toContain('of the submodule')
})

if (whyNoLfs !== undefined) process.stderr.write(`${whyNoLfs}\n`)

test.skipIf(whyNoLfs !== undefined)(
  'a git-lfs file is content in the task, and content when it comes home',
  async () => {
    const world = await startWorld()
    const folder = await makeRepository(world)
    await git(folder, 'lfs', 'install', '--local')
    writeFileSync(join(folder, '.gitattributes'), '*.bin filter=lfs diff=lfs merge=lfs -text\n')
    writeFileSync(join(folder, 'a.bin'), 'real content\n')
    await git(folder, 'add', '-A')
    await git(folder, 'commit', '-qm', 'lfs')
    const rclaude = (...args: string[]) => world.cli(args, { cwd: folder, env: world.asAdmin })
    const script = 'cat a.bin; git status --porcelain; echo changed > a.bin'
    const ran = await rclaude('run', '--unsandboxed', '--', 'sh', '-c', script)
    expect(ran, ran.stderr).toMatchObject({ code: 0, stdout: expect.stringContaining('real content') })
    expect(ran.stdout).not.toContain(' M ')
    expect(await rclaude('apply', '@last')).toMatchObject({ code: 0 })
    expect(readFileSync(join(folder, 'a.bin'), 'utf8')).toBe('changed\n')
    await git(folder, 'commit', '-qam', 'theirs')
    expect(await git(folder, 'show', 'HEAD:a.bin')).toMatch(/^version https:\/\/git-lfs/)
  },
)
