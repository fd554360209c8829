/** `rclaude sync` as a user types it: the built CLI, a real gateway, a real agent. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { contents, write } from '../cli/sync/folders.ts'
import { eventually } from '../helpers/eventually.ts'
import { printed } from '../helpers/printed.ts'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { git, startWorld, type World } from '../helpers/world.ts'

interface Scene {
  world: World
  id: string
  /** The workspace of the task. */
  far: string
  near: string
  sync(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }>
}

async function scene(): Promise<Scene> {
  const world = await startWorld()
  stopTasksAfterwards(world)
  const { id } = await world.createTask({ agent: 'command', command: ['sleep', '300'], workspace: { kind: 'none' } })
  await eventually('its work has begun', async () => {
    const task = await world.getTask(id)
    return task.state === 'running' && task.turns[0]?.startedAt !== undefined
  })
  const near = join(world.directory, 'near')
  mkdirSync(near)
  const far = join(world.data, 'run', id, 'work')
  const sync = (...args: string[]) => world.cli(['sync', ...args], { cwd: near, env: world.asAdmin })
  return { world, id, far, near, sync }
}

test('a folder goes to the task, changes come back, and conflicts are said with an exit code of their own', async () => {
  const { id, far, near, sync } = await scene()
  await git(near, 'init', '-q')
  write(near, { '.gitignore': 'out/\n', 'src/a.ts': 'a', 'src/b.ts': 'b', 'out/x.js': 'built' })
  const first = await sync(id)
  expect([first.code, first.stdout]).toEqual([0, '3 files, 7 B sent\n'])
  expect(contents(far)).toEqual({ '.gitignore': 'out/\n', 'src/a.ts': 'a', 'src/b.ts': 'b' })

  write(far, { 'src/a.ts': 'changed there', 'src/c.ts': 'new there' })
  write(near, { 'src/b.ts': 'mine' })
  write(far, { 'src/b.ts': 'theirs' })
  const second = await sync(id)
  expect([second.code, second.stdout.split('\n')[0]]).toEqual([9, '2 files, 22 B received; 1 conflict'])
  expect(second.stdout).toContain('conflict src/b.ts')
  expect(second.stdout).toContain('--prefer local')
  expect(contents(near)).toMatchObject({ 'src/a.ts': 'changed there', 'src/b.ts': 'mine', 'src/c.ts': 'new there' })

  const third = await sync(id, '--prefer', 'remote', '--json')
  const said = JSON.parse(third.stdout)
  expect([third.code, said.conflicts[0].path, said.received.files]).toEqual([0, 'src/b.ts', 1])
  expect(readFileSync(join(near, said.conflicts[0].copy), 'utf8')).toBe('mine')
  expect(readFileSync(join(near, 'src/b.ts'), 'utf8')).toBe('theirs')
  expect((await sync(id)).stdout).toBe('nothing to do, 4 files alike\n')
}, 60_000)

test('it mirrors one folder of the workspace, tells beforehand what it would do, and does not empty by mistake', async () => {
  const { world, id, far, near, sync } = await scene()
  write(far, { 'dist/app.js': 'app', 'dist/old.js': 'old', other: 'o' })
  const target = join(world.directory, 'made', 'here')
  expect((await sync(`${id}:dist`, target, '--from')).stdout).toBe('2 files, 6 B received\n')
  rmSync(join(far, 'dist/old.js'))
  write(target, { 'mine.js': 'm' })
  const dry = await sync(`${id}:/dist/`, target, '--from', '--delete', '-nv')
  expect(dry.stdout.split('\n').slice(0, 2)).toEqual(['would delete here mine.js', 'would delete here old.js'])
  expect((await sync(`${id}:dist`, target, '--from', '--delete')).stdout).toBe('2 deleted here\n')
  expect(contents(target)).toEqual({ 'app.js': 'app' })

  rmSync(join(target, 'app.js'))
  const empty = await sync(`${id}:dist`, target, '--to', '--delete')
  expect([empty.code, empty.stderr]).toEqual([
    9,
    expect.stringContaining('--delete would empty the folder of the task'),
  ])
  expect(contents(far)).toEqual({ 'dist/app.js': 'app', other: 'o' })

  const wrong: [string[], number, string][] = [
    [[`${id}:../x`], 2, 'no folder of the workspace'],
    [[id, '--to', '--from'], 2, 'contradict'],
    [[id, 'nowhere'], 2, 'there is no folder'],
    [[`${id}:none`, '--from'], 125, 'there is no folder "none"'],
    [[id, '-w', '-n'], 2, 'contradict'],
  ]
  for (const [args, code, words] of wrong) {
    const result = await sync(...args)
    expect([args, result.code, result.stderr]).toEqual([args, code, expect.stringContaining(words)])
  }
  expect(contents(near)).toEqual({})
}, 60_000)

test('--watch keeps both alike over the death of the gateway, lets no second one in, and ends with Ctrl-C', async () => {
  const { world, id, far, near, sync } = await scene()
  write(near, { a: '1' })
  const watching = world.startCli(['sync', id, '--watch'], { cwd: near, env: world.asAdmin })
  await printed(watching.process, '1 file, 1 B sent')
  const second = await sync(id)
  expect([second.code, second.stderr]).toEqual([
    9,
    expect.stringContaining('another rclaude sync of this folder is running'),
  ])
  const both = (files: Record<string, string>) =>
    eventually(`both hold ${JSON.stringify(files)}`, () =>
      [near, far].every((root) => JSON.stringify(contents(root)) === JSON.stringify(files)),
    )
  write(far, { b: '2' })
  await both({ a: '1', b: '2' })
  await world.killGateway()
  writeFileSync(join(near, 'a'), 'while it was away')
  write(far, { b: 'there too' })
  await world.startGateway()
  await both({ a: 'while it was away', b: 'there too' })
  watching.process.kill('SIGINT')
  const { code, stderr } = await watching.result
  expect([code, stderr]).toEqual([0, expect.stringContaining('trying again')])
  expect((await sync(id)).stdout).toBe('nothing to do, 2 files alike\n')
}, 90_000)
