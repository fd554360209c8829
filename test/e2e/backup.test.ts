/** Backup and restore: of a gateway at work, by the built programs; and what a copy of a living gateway leaves alone. */
import { execFileSync, spawn } from 'node:child_process'
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { routes } from '../../protocol/routes.ts'
import type { CreateTaskInput, Task } from '../../protocol/task.ts'
import { eventually } from '../helpers/eventually.ts'
import { temporaryDirectory } from '../helpers/temporary.ts'
import { uploadFiles } from '../helpers/upload.ts'
import { git, startWorld, World } from '../helpers/world.ts'

const shell = (script: string): Partial<CreateTaskInput> => ({ agent: 'command', command: ['sh', '-c', script] })

async function start(world: World, script: string): Promise<Task> {
  const task = await world.createTask({ workspace: { kind: 'snapshot' }, ...shell(script) })
  await uploadFiles(world, task.id, { 'hello.txt': 'hello\n' })
  return task
}

interface Result {
  code: number
  stdout: string
  stderr: string
}

/** The gateway's own program, run to its end. */
function gateway(...args: string[]): Promise<Result> {
  const child = spawn(process.execPath, [resolve('dist/gateway.js'), ...args], { env: { PATH: process.env.PATH } })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk) => {
    stdout += chunk
  })
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  return new Promise((done) => child.once('close', (code) => done({ code: code ?? -1, stdout, stderr })))
}

async function succeed(...args: string[]): Promise<Result> {
  const result = await gateway(...args)
  expect(result).toMatchObject({ code: 0 })
  return result
}

const pidOf = (task: Task): number => (task.state === 'running' ? Number(task.placement.handle) : 0)
const isAlive = (pid: number): boolean => pid > 0 && existsSync(`/proc/${pid}/exe`)
const pause = (ms: number) => new Promise((done) => setTimeout(done, ms))

test.each(['backup.tar.gz', 'backup.tar', 'a folder'])(
  'what a gateway at work backs up as %s comes back whole elsewhere',
  async (name) => {
    const world = await startWorld()
    const done = await start(world, 'echo more >> hello.txt; cp hello.txt $RCLAUDE_ARTIFACTS/')
    const ended = await world.ended(done.id)
    expect(ended).toMatchObject({ outcome: 'succeeded' })
    const target = join(world.directory, 'to', name)
    const { stdout, stderr } = await succeed('backup', target, '--data', world.data, '--json')
    expect(JSON.parse(stdout)).toMatchObject({ backup: target, tasks: 1, hasKey: true })
    expect(stderr).toBe('')
    expect(statSync(target).mode & 0o077).toBe(0)
    expect(readdirSync(dirname(target))).toEqual([name])

    const other = new World()
    const { stderr: said } = await succeed('restore', target, '--data', other.data)
    expect(said).toContain('confirm-restore')
    await startWorld({ world: other })
    expect(other.adminToken).toBe(world.adminToken)
    expect(await other.getTask(done.id)).toEqual(ended)
    expect(await other.events(done.id)).toEqual(await world.events(done.id))
    const patch = await other.api().raw(routes.patch, { params: { taskId: done.id } })
    expect(await patch.text()).toContain('+more')
    const artifact = await other
      .api()
      .raw(routes.getArtifact, { params: { taskId: done.id, rest: 'hello.txt' } } as never)
    expect(await artifact.text()).toBe('hello\nmore\n')
    await git(join(other.data, 'workspaces', `${done.id}.git`), 'fsck', '--strict')
  },
)

test('a copy leaves the machines of the living gateway alone until an administrator confirms', async () => {
  const world = await startWorld()
  const running = 'echo begun; while ! test -e go; do sleep 0.1; done'
  const a = await world.state((await start(world, running)).id, 'running')
  const target = join(world.directory, 'backup.tar')
  await succeed('backup', target, '--data', world.data)
  const b = await world.state((await start(world, running)).id, 'running')

  const copy = new World()
  await succeed('restore', target, '--data', copy.data)
  // What a launcher of machines elsewhere (Docker, ECS) would see: everything that runs, B as well.
  cpSync(join(world.data, 'run'), join(copy.data, 'run'), {
    recursive: true,
    filter: (path) => statSync(path).isDirectory() || path.endsWith('launch.json'),
  })
  await startWorld({ world: copy })
  await pause(5_000) // more than a sweep: every sixth round of 0.5 s
  expect([isAlive(pidOf(a)), isAlive(pidOf(b))]).toEqual([true, true])
  expect(await copy.getTask(a.id)).toMatchObject({ state: 'running' })
  expect(copy.gatewayLog).toContain('a placement that no task here owns')
  expect(await copy.api().call(routes.info)).toMatchObject({ held: { kind: 'restored' }, generation: 1 })
  await expect(copy.createTask({ workspace: { kind: 'none' }, ...shell('true') })).rejects.toThrow(/confirm-restore/)

  // Listed first, and nothing is changed by that.
  const listing = await copy.cli(['gateway', 'confirm-restore'], { env: copy.asAdmin })
  expect(listing).toMatchObject({ code: 9 })
  expect(listing.stdout).toMatch(new RegExp(`take over +${a.id}`))
  expect(listing.stdout).toMatch(new RegExp(`STOP +${b.id}`))
  const doctor = await copy.cli(['doctor'], { env: copy.asAdmin })
  expect(doctor.stdout).toContain('rclaude gateway confirm-restore')
  expect([isAlive(pidOf(a)), isAlive(pidOf(b))]).toEqual([true, true])

  // Their agents have stayed where they were.
  expect(await world.getTask(a.id)).toMatchObject({ connection: { online: true } })
  const go = await world.cli(['exec', a.id, '--', 'touch', 'go'], { env: world.asAdmin })
  expect(go).toMatchObject({ code: 0 })
  expect(await world.ended(a.id)).toMatchObject({ outcome: 'succeeded' })

  // The word is given: what was listed as STOP goes, which shows that only the hold had kept it.
  const confirmed = await copy.cli(['gateway', 'confirm-restore', '--yes'], { env: copy.asAdmin })
  expect(confirmed).toMatchObject({ code: 0, stdout: expect.stringContaining('generation 2') })
  await eventually('the copy has stopped B', () => !isAlive(pidOf(b)), 20_000)
  expect(await copy.ended(a.id)).toMatchObject({ outcome: 'lost' })
  await copy.killGateway('SIGTERM')
  await copy.startGateway()
  expect((await copy.api().call(routes.info)).held).toBeUndefined()
}, 60_000)

test('a data folder that was copied file by file is held too; its original is not', async () => {
  const world = await startWorld()
  const a = await world.state((await start(world, 'sleep 300')).id, 'running')
  await world.killGateway('SIGTERM')
  const copy = new World()
  execFileSync('cp', ['-a', `${world.data}/.`, copy.data])
  await world.startGateway()
  await startWorld({ world: copy })
  await pause(4_000)
  expect(isAlive(pidOf(a))).toBe(true)
  expect((await copy.api().call(routes.info)).held).toMatchObject({ kind: 'copied' })
  expect((await world.api().call(routes.info)).held).toBeUndefined()
  await world.api().call(routes.stopTask, { params: { taskId: a.id }, body: {} })
  await world.ended(a.id)
}, 60_000)

test('a backup without the key holds neither key nor token, and the restored gateway makes a token of its own', async () => {
  const world = await startWorld()
  const target = join(world.directory, 'backup')
  const { stderr } = await succeed('backup', target, '--data', world.data, '--without-key')
  expect(stderr).toContain('secret.key')
  expect(readdirSync(target).sort()).toEqual(['artifacts', 'gateway.db', 'manifest.json', 'workspaces'])
  const other = new World()
  await succeed('restore', target, '--data', other.data)
  await startWorld({ world: other })
  expect(other.adminToken).not.toBe(world.adminToken)
  expect(await other.api().call(routes.me)).toMatchObject({ role: 'admin' })
})

test('a damaged backup is refused with the place, and the folder stays as it was', async () => {
  const world = await startWorld()
  await world.ended((await start(world, 'true')).id)
  const folder = join(world.directory, 'whole')
  await succeed('backup', folder, '--data', world.data)
  const archive = join(world.directory, 'whole.tar.gz')
  await succeed('backup', archive, '--data', world.data)
  const data = join(temporaryDirectory(), 'data')
  const damages: Array<[string, (folder: string) => void, RegExp]> = [
    ['a', (path) => appendFileSync(join(path, 'secret.key'), 'x'), /damaged: secret\.key has 33 bytes/],
    ['b', (path) => rmSync(join(path, 'gateway.db')), /damaged: gateway\.db is missing/],
    ['c', (path) => writeFileSync(join(path, 'artifacts', 'new'), ''), /artifacts\/new does not belong/],
    ['d', (path) => rmSync(join(path, 'manifest.json')), /no whole backup/],
    ['e', (path) => truncateSync(join(path, 'manifest.json'), 100), /manifest\.json cannot be read/],
    ['f', (path) => flip(join(path, 'gateway.db'), 5_000), /the contents of gateway\.db have changed/],
  ]
  for (const [name, damage, message] of damages) {
    const damaged = join(world.directory, name)
    cpSync(folder, damaged, { recursive: true })
    damage(damaged)
    const result = await gateway('restore', damaged, '--data', data)
    expect(result.stderr).toMatch(message)
    expect(result.code).toBe(78)
    expect(existsSync(data)).toBe(false)
  }
  truncateSync(archive, statSync(archive).size - 500)
  const result = await gateway('restore', archive, '--data', data)
  expect(result.stderr).toMatch(/whole\.tar\.gz is damaged or cut off: .*/)
  expect(existsSync(data)).toBe(false)
})

function flip(file: string, offset: number): void {
  const bytes = readFileSync(file)
  bytes[offset] = (bytes[offset] ?? 0) ^ 1
  writeFileSync(file, bytes)
}

test('restore leaves alone what is there, and a gateway that runs; backup overwrites nothing', async () => {
  const world = await startWorld()
  const target = join(world.directory, 'backup')
  await succeed('backup', target, '--data', world.data)
  expect(await gateway('backup', target, '--data', world.data)).toMatchObject({
    code: 75,
    stderr: expect.stringContaining('overwrites nothing'),
  })
  expect((await gateway('restore', target, '--data', world.data)).stderr).toContain('another gateway is running')
  const used = temporaryDirectory()
  writeFileSync(join(used, 'mine.txt'), 'mine')
  expect((await gateway('restore', target, '--data', used)).stderr).toContain('mine.txt is there')
  expect(readdirSync(used)).toEqual(['mine.txt'])
  expect((await gateway('backup', join(used, 'x'), '--data', used)).stderr).toContain('holds no gateway')
  expect((await gateway('bakup', 'x', '--data', used)).stderr).toContain('is no command')
})

test('a backup that is killed leaves nothing that looks whole, and a restore that was killed starts no gateway', async () => {
  const world = await startWorld()
  await world.ended((await start(world, 'head -c 30000000 /dev/urandom > $RCLAUDE_ARTIFACTS/large')).id)
  const folder = join(world.directory, 'out')
  mkdirSync(folder)
  const target = join(folder, 'backup.tar.gz')
  const child = spawn(process.execPath, [resolve('dist/gateway.js'), 'backup', target, '--data', world.data])
  await eventually('it has begun', () => readdirSync(folder).length > 0)
  const gone = new Promise((done) => child.once('exit', done))
  child.kill('SIGKILL')
  await gone
  const [left = ''] = readdirSync(folder)
  expect(left).toMatch(/^\..*\.partial/)
  expect(existsSync(target)).toBe(false)
  await succeed('backup', target, '--data', world.data)

  const data = temporaryDirectory()
  mkdirSync(join(data, 'restoring'))
  expect((await gateway('--local', '--data', data)).stderr).toContain('was interrupted')
  expect((await gateway('restore', target, '--data', data)).stderr).toContain('was interrupted')
})

test('rclaude gateway backup and restore do the same for the local gateway', async () => {
  const world = await startWorld()
  const target = join(world.directory, 'local.tar')
  const local = { XDG_DATA_HOME: join(world.directory, 'xdg') }
  const none = await world.cli(['gateway', 'backup', target], { env: local })
  expect(none).toMatchObject({ code: 1, stderr: expect.stringContaining('holds no gateway') })
  await succeed('backup', target, '--data', world.data)
  const restored = await world.cli(['gateway', 'restore', target, '--json'], { env: local })
  expect(restored).toMatchObject({ code: 0 })
  expect(JSON.parse(restored.stdout)).toMatchObject({ restored: join(local.XDG_DATA_HOME, 'rclaude', 'gateway') })
  const again = await world.cli(['gateway', 'backup', 'again.tar'], { env: local })
  expect(again).toMatchObject({ code: 0 })
  expect(existsSync(join(world.directory, 'again.tar'))).toBe(true)
})
