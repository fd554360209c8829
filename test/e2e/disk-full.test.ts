/** Full disks, real ones: a small tmpfs that root can mount. Where it cannot be mounted the reason is printed. */
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { routes } from '../../protocol/routes.ts'
import type { CreateTaskInput } from '../../protocol/task.ts'
import { eventually } from '../helpers/eventually.ts'
import { mountSmallDisk, unmount } from '../helpers/small-disk.ts'
import { startWorld, World } from '../helpers/world.ts'

const whyNot = mountProblem()
if (whyNot !== undefined) console.log(`disk-full tests are skipped: ${whyNot}`)

function mountProblem(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'mounting a tmpfs needs root on Linux'
  const world = new World()
  try {
    mountSmallDisk(world.data, '1m')
    unmount(world.data)
    return undefined
  } catch (error) {
    return `cannot mount a tmpfs: ${String(error).split('\n')[0]}`
  } finally {
    rmSync(world.directory, { recursive: true, force: true })
  }
}

/** A world whose gateway has its data on a small disk of its own. */
async function smallWorld(size: string, settings: Record<string, string> = {}): Promise<World> {
  const world = new World({ RCLAUDE_LIMITS__MIN_FREE_DISK: '1MiB', ...settings })
  mountSmallDisk(world.data, size)
  // Agents on this machine have a disk of their own, as containers have.
  mkdirSync(join(world.directory, 'run'))
  symlinkSync(join(world.directory, 'run'), join(world.data, 'run'))
  const running = startWorld({ world })
  onTestFinished(() => unmount(world.data))
  return running
}

/** Takes all the space there is. @returns gives it back */
function fill(world: World): () => void {
  const file = join(world.data, 'filler')
  try {
    writeFileSync(file, Buffer.alloc(256 * 1024 * 1024))
  } catch {
    // As much as there was.
  }
  return () => rmSync(file, { force: true })
}

const command = (script: string): CreateTaskInput => ({
  agent: 'command',
  command: ['sh', '-c', script],
  workspace: { kind: 'none' },
})

test.skipIf(whyNot !== undefined)('with too little space new tasks are refused in so many words', async () => {
  const world = await smallWorld('64m', { RCLAUDE_LIMITS__MIN_FREE_DISK: '1GiB' })
  await expect(world.createTask(command('true'))).rejects.toMatchObject({
    code: 'disk_full',
    message: expect.stringMatching(/limits\.minFreeDisk.*rclaude rm/),
  })
})

test.skipIf(whyNot !== undefined)(
  'a disk that fills while a task prints loses nothing and repeats nothing once there is space again',
  async () => {
    const world = await smallWorld('64m')
    const { id } = await world.createTask(command('for i in $(seq 60); do echo line $i; sleep 0.1; done'))
    await eventually('it prints', async () => (await world.events(id)).some((event) => event.type === 'output'))
    const release = fill(world)
    await new Promise((resolve) => setTimeout(resolve, 2_000)) // it goes on printing
    expect((await fetch(`${world.url}/healthz`)).status).toBe(200)
    release()
    const task = await world.ended(id)
    expect(task).toMatchObject({ outcome: 'succeeded' })
    const events = await world.events(id)
    expect(events.map((event) => event.seq)).toEqual(events.map((_, index) => index + 1))
    const printed = events.flatMap((event) => (event.type === 'output' ? [event.text] : [])).join('')
    expect(events.filter((event) => event.type === 'gap')).toEqual([])
    expect(printed).toBe(Array.from({ length: 60 }, (_, n) => `line ${n + 1}\n`).join(''))
  },
  60_000,
)

test.skipIf(whyNot !== undefined)('on a full disk tasks can be looked at and deleted', async () => {
  const world = await smallWorld('96m')
  const { id } = await world.createTask(command('echo done'))
  await world.ended(id)
  fill(world)
  expect((await world.getTask(id)).state).toBe('ended')
  await world.api().call(routes.deleteTask, { params: { taskId: id } })
  await expect(world.getTask(id)).rejects.toMatchObject({ code: 'not_found' })
})

test.skipIf(whyNot !== undefined)('on a full disk prune makes room, and new tasks are taken again', async () => {
  const world = await smallWorld('96m', { RCLAUDE_LIMITS__MIN_FREE_DISK: '16MiB' })
  const artifact = 'head -c 33554432 /dev/urandom > "$RCLAUDE_ARTIFACTS/big"'
  await world.ended((await world.createTask(command(artifact))).id)
  fill(world)
  await expect(world.createTask(command('true'))).rejects.toMatchObject({ code: 'disk_full' })
  const pruned = await world.cli(['prune', '--yes'], { env: world.asAdmin })
  expect(pruned).toMatchObject({ code: 0, stdout: expect.stringMatching(/^deleted 1 task, freed 32\.\d MiB$/m) })
  expect(await world.ended((await world.createTask(command('true'))).id)).toMatchObject({ outcome: 'succeeded' })
})

test.skipIf(whyNot !== undefined)(
  'a gateway on a full disk starts, and goes on when there is space again',
  async () => {
    const world = await smallWorld('96m')
    const { id } = await world.createTask(command('sleep 3; exit 5'))
    await world.state(id, 'running')
    const release = fill(world)
    await world.killGateway()
    await world.startGateway()
    release()
    expect((await world.ended(id)).turns[0]?.result?.exitCode).toBe(5)
  },
)

test.skipIf(whyNot !== undefined)(
  "a full disk of the agent's costs output, which is said, and never the outcome",
  async () => {
    const world = new World()
    mountSmallDisk(join(world.data, 'run'), '24m')
    const running = await startWorld({ world })
    onTestFinished(() => unmount(join(world.data, 'run')))
    const { id } = await running.createTask(
      command('cat /dev/zero > filler; for i in $(seq 2000); do echo line $i; done; rm filler; echo after; exit 7'),
    )
    const task = await running.ended(id)
    expect(task).toMatchObject({ outcome: 'failed', reason: 'exit_code' })
    expect(task.turns[0]?.result?.exitCode).toBe(7)
    const events = await running.events(id)
    expect(events.map((event) => event.seq)).toEqual(events.map((_, index) => index + 1))
    const printed = events.flatMap((event) => (event.type === 'output' ? [event.text] : [])).join('')
    const isComplete = printed.includes('line 2000\nafter\n') && printed.includes('line 1\n')
    expect(isComplete || events.some((event) => event.type === 'gap')).toBe(true)
  },
)
