import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { applyTask } from '../../../cli/workspace/apply.ts'
import { pullTask } from '../../../cli/workspace/pull.ts'
import { pushSnapshot } from '../../../cli/workspace/push.ts'
import { takeSnapshot } from '../../../cli/workspace/snapshot.ts'
import { repository, startGitGateway, temporary } from '../../gateway/workspaces/git-gateway.ts'
import { whyNoLfs } from '../../helpers/git-lfs.ts'
import { sendSnapshot } from '../../helpers/sent-snapshot.ts'
import { prepareAgent } from '../../helpers/workspace-agent.ts'

const random = (bytes: number) => Buffer.from(Array.from({ length: bytes }, () => Math.floor(Math.random() * 256)))

/** `a.bin` and `b.bin` in git-lfs, content here; as `git lfs install --local` leaves it. */
function project() {
  const user = repository()
  user.git('lfs', 'install', '--local')
  writeFileSync(join(user.path, '.gitattributes'), '*.bin filter=lfs diff=lfs merge=lfs -text\n')
  const content = { a: random(5_000), b: random(6_000) }
  writeFileSync(join(user.path, 'a.bin'), content.a)
  writeFileSync(join(user.path, 'b.bin'), content.b)
  writeFileSync(join(user.path, 'plain.txt'), 'plain\n')
  user.git('add', '.')
  user.git('commit', '-q', '-m', 'first')
  return { ...user, content, file: (name: string) => readFileSync(join(user.path, name)) }
}

async function send(path: string) {
  const { gateway, task, dirty, warnings } = await sendSnapshot(path)
  return { task, dirty, warnings, agent: await prepareAgent(gateway, task.id) }
}

if (whyNoLfs !== undefined) process.stderr.write(`git-lfs: ${whyNoLfs}\n`)

describe.skipIf(whyNoLfs !== undefined)('git-lfs files', () => {
  test('arrive as content, in a clean repository, and the user’s stays untouched', async () => {
    const user = project()
    const lfs = () => readdirSync(join(user.path, '.git/lfs'), { recursive: true }).sort()
    const before = lfs()
    const clean = await send(user.path)
    expect(clean).toMatchObject({ dirty: false, warnings: [] })
    expect(readFileSync(join(clean.agent.work, 'a.bin'))).toEqual(user.content.a)
    expect(clean.agent.git('status', '--porcelain')).toBe('')
    expect(clean.agent.git('log', '--format=%s')).toBe('Snapshot of the working tree\nfirst')
    const changed = random(7_000)
    writeFileSync(join(user.path, 'b.bin'), changed)
    writeFileSync(join(user.path, 'new.bin'), changed)
    const dirty = await send(user.path)
    expect(dirty.dirty).toBe(true)
    for (const name of ['b.bin', 'new.bin']) expect(readFileSync(join(dirty.agent.work, name))).toEqual(changed)
    expect(lfs()).toEqual(before)
  })

  test('come back changed as real files here, and as pointers in the next commit', async () => {
    const user = project()
    const { agent, task } = await send(user.path)
    const changed = random(8_000)
    writeFileSync(join(agent.work, 'a.bin'), changed)
    writeFileSync(join(agent.work, 'made.bin'), changed)
    rmSync(join(agent.work, 'b.bin'))
    agent.git('add', '.')
    agent.git('commit', '-q', '-m', 'the coding agent commits')
    await agent.save()
    const applied = await applyTask(user.path, task)
    expect(applied).toMatchObject({ status: 'applied', warnings: [], conflicts: [] })
    expect(applied.files.map(({ status, path }) => `${status} ${path}`)).toEqual(['M a.bin', 'D b.bin', 'A made.bin'])
    expect(user.file('a.bin')).toEqual(changed)
    expect(await applyTask(user.path, task)).toMatchObject({ status: 'already_applied' })
    user.git('add', '.')
    user.git('commit', '-q', '-m', 'theirs')
    expect(user.git('show', 'HEAD:a.bin')).toMatch(/^version https:\/\/git-lfs.*\noid sha256:\w+\nsize 8000$/)
    expect(user.git('lfs', 'fsck')).toContain('OK')
    expect(user.git('status', '--porcelain')).toBe('')
  })

  test('come back as a branch that holds pointers, with the content in git-lfs', async () => {
    const user = project()
    const { agent, task } = await send(user.path)
    const changed = random(8_000)
    writeFileSync(join(agent.work, 'a.bin'), changed)
    writeFileSync(join(agent.work, 'plain.txt'), 'changed\n')
    await agent.save()
    const branch = `rclaude/${task.taskId}`
    await pullTask(user.path, task)
    expect(user.git('log', '--format=%s', branch)).toBe('Fix it\nfirst')
    expect(user.git('diff', '--name-only', 'HEAD', branch)).toBe('a.bin\nplain.txt')
    expect(user.git('show', `${branch}:a.bin`)).toMatch(/size 8000$/)
    expect(await pullTask(user.path, task)).toMatchObject({ status: 'unchanged' })
    user.git('checkout', '-q', branch)
    expect(user.file('a.bin')).toEqual(changed)
    expect(user.git('lfs', 'fsck')).toContain('OK')
  })

  test('that are pointers here stay pointers, counted in a warning', async () => {
    const user = project()
    const pointer = user.git('show', 'HEAD:a.bin')
    rmSync(join(user.path, '.git/lfs/objects'), { recursive: true })
    for (const name of ['a.bin', 'b.bin']) writeFileSync(join(user.path, name), `${user.git('show', `HEAD:${name}`)}\n`)
    const { agent, task, warnings, dirty } = await send(user.path)
    expect(warnings).toEqual([
      expect.stringMatching(/^2 git-lfs files are pointers here and stay pointers: git lfs pull/),
    ])
    expect(dirty).toBe(false)
    expect(readFileSync(join(agent.work, 'a.bin'), 'utf8')).toBe(`${pointer}\n`)
    writeFileSync(join(agent.work, 'plain.txt'), 'changed\n')
    await agent.save()
    expect((await applyTask(user.path, task)).files).toEqual([{ path: 'plain.txt', status: 'M' }])
  })

  test('are not sent again for the next task, or only those that changed', async () => {
    const user = project()
    for (let at = 0; at < 40; at++) writeFileSync(join(user.path, `${at}.bin`), random(20_000))
    user.git('add', '.')
    user.git('commit', '-q', '-m', 'more')
    const gateway = await startGitGateway()
    const run = async () => {
      const before = gateway.received()
      await using snapshot = await takeSnapshot(user.path)
      const task = await gateway.newTask({ project: snapshot.project })
      await pushSnapshot(snapshot, task)
      await gateway.workspaces.seal(task.id)
      await new Promise((resolve) => setTimeout(resolve, 100)) // connections close
      return gateway.received() - before
    }
    const first = await run()
    expect(first).toBeGreaterThan(800_000)
    expect(first).toBeLessThan(900_000)
    writeFileSync(join(user.path, 'plain.txt'), 'changed\n')
    expect(await run()).toBeLessThan(40_000)
    writeFileSync(join(user.path, '7.bin'), random(20_000))
    expect(await run()).toBeLessThan(400_000)
  })

  test.each([
    ['installed for every user of the agent’s machine', 'git-lfs'],
    ['asked for there and missing', 'git-lfs-that-is-not-here'],
  ])('are clean in the task with a git-lfs that is %s', async (_, command) => {
    const user = project()
    const { agent } = await send(user.path)
    const system = join(temporary('system'), 'gitconfig')
    writeFileSync(
      system,
      `[filter "lfs"]\n\tclean = ${command} clean\n\tprocess = ${command} filter-process\n\trequired = true\n`,
    )
    const env = { ...process.env, GIT_CONFIG_SYSTEM: system, GIT_CONFIG_GLOBAL: '/dev/null' }
    const git = (...args: string[]) => execFileSync('git', args, { cwd: agent.work, env }).toString()
    utimesSync(join(agent.work, 'a.bin'), 1, 1) // so that git reads it again
    expect(git('status', '--porcelain')).toBe('')
    writeFileSync(join(agent.work, 'a.bin'), 'changed')
    git('add', 'a.bin')
    expect(git('show', ':a.bin')).toBe('changed')
  })
})
