/** Files of a running task by the CLI, through a real gateway to a real agent. */
import { createHash, randomBytes } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { FileChanges } from '../../protocol/watch.ts'
import { rssOf } from '../helpers/memory.ts'
import { SseReader } from '../helpers/sse.ts'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { startWorld, type World } from '../helpers/world.ts'

let world: World
let taskId: string
/** Of the task. */
let work: string
let here: string

beforeEach(async () => {
  world = await startWorld()
  stopTasksAfterwards(world)
  const task = await world.createTask({ agent: 'command', command: ['sleep', '600'], workspace: { kind: 'none' } })
  taskId = task.id
  await world.state(taskId, 'running')
  const pwd = await world.cli(['exec', taskId, '--', 'pwd'], { env: world.asAdmin })
  work = pwd.stdout.trim()
  here = join(world.directory, 'here')
  mkdirSync(here)
})

const cli = (args: string[], options: { stdin?: Buffer; env?: Record<string, string> } = {}) =>
  world.cli(args, { cwd: here, ...options, env: { ...world.asAdmin, ...options.env } })
const works = async (...args: string[]) => {
  const { code, stdout, stderr } = await cli(args)
  expect([args.join(' '), code, stderr]).toEqual([args.join(' '), 0, ''])
  return stdout
}

const etagOf = async (path: string) => {
  const headers = { authorization: `Bearer ${world.adminToken}` }
  const answer = await fetch(`${world.url}/v1/tasks/${taskId}/files/${path}?stat=1`, { headers })
  return ((await answer.json()) as { etag: string }).etag
}

test('cp, ls and cat: trees go there and back with modes, times and links, and names land where scp puts them', async () => {
  mkdirSync(join(here, 'tree/sub'), { recursive: true })
  writeFileSync(join(here, 'tree/sub/run.sh'), '#!/bin/sh\n')
  chmodSync(join(here, 'tree/sub/run.sh'), 0o750)
  utimesSync(join(here, 'tree/sub/run.sh'), 1_600_000_000, 1_600_000_000)
  writeFileSync(join(here, 'tree/.hidden'), '')
  writeFileSync(join(here, 'tree/line\nbreak'), 'odd')
  symlinkSync('sub/run.sh', join(here, 'tree/link'))
  await works('cp', 'tree', `${taskId}:`)
  await works('cp', 'tree', `${taskId}:copy`)
  await works('cp', 'tree/.', `${taskId}:copy`)
  expect(readdirSync(join(work, 'copy')).sort()).toEqual(['.hidden', 'line\nbreak', 'link', 'sub'])
  await works('cp', `${taskId}:tree`, 'back')
  await works('cp', `${taskId}:tree`, 'back')
  const file = statSync(join(here, 'back/sub/run.sh'))
  expect([file.mode & 0o777, file.mtimeMs]).toEqual([0o750, 1_600_000_000_000])
  expect(readFileSync(join(here, 'back/tree/link'), 'utf8')).toBe('#!/bin/sh\n')
  expect(readFileSync(join(here, 'back/line\nbreak'), 'utf8')).toBe('odd')
  await works('cp', `${taskId}:tree/link`, `${taskId}:tree/.hidden`, '.')
  expect(readFileSync(join(here, 'link'), 'utf8')).toBe('#!/bin/sh\n')
  expect(statSync(join(here, 'link')).mode & 0o777).toBe(0o750)

  expect(await works('ls', `${taskId}:tree`)).toBe('line break\nlink\nsub\n')
  expect(await works('ls', '-la', `${taskId}:tree/sub`)).toMatch(/^-rwxr-x--- 10 2020-09-13 12:26 run\.sh\n$/)
  expect(await works('ls', '-R', `${taskId}:tree`)).toContain('tree/sub:\nrun.sh\n')
  expect(await works('cat', `${taskId}:tree/sub/run.sh`, `${taskId}:tree/link`)).toBe('#!/bin/sh\n#!/bin/sh\n')
  expect((await cli(['cp', '-', `${taskId}:from-stdin`], { stdin: Buffer.from('piped') })).code).toBe(0)
  expect(await works('cp', `${taskId}:from-stdin`, '-')).toBe('piped')
  expect((await works('cp', `${taskId}:tree/sub`, '-')).slice(0, 6)).toBe('run.sh')

  for (const [args, code, said] of [
    [['cp', 'missing', `${taskId}:x`], 2, 'cannot read'],
    [['cp', `${taskId}:missing`, '.'], 125, 'the task has no missing'],
    [['cp', `${taskId}:tree`, `${taskId}:other`], 2, 'one side is a task'],
    [['cp', 'a', 'b'], 2, 'one side is a task'],
    [['cp', `${taskId}:../x`, '.'], 2, 'leads out of the workspace'],
    [['cat', `${taskId}:tree`], 2, 'is a directory'],
    [['ls', `${taskId}:missing`], 125, 'the task has no missing'],
  ] as const) {
    const result = await cli([...args])
    expect([args.join(' '), result.code]).toEqual([args.join(' '), code])
    expect(result.stderr).toContain(said)
  }
}, 60_000)

test('a hostile task writes nothing outside of the destination, and its names do not drive the terminal', async () => {
  const secret = join(here, 'secret')
  writeFileSync(secret, 'kept')
  mkdirSync(join(work, 'tree/sub'), { recursive: true })
  symlinkSync('..', join(work, 'tree/up'))
  symlinkSync('/etc', join(work, 'tree/etc'))
  symlinkSync('sub/../../secret', join(work, 'tree/sneaky'))
  writeFileSync(join(work, 'tree/sub/f'), 'fine')
  writeFileSync(join(work, 'tree/\u001b]0;owned\u0007'), '')
  writeFileSync(Buffer.concat([Buffer.from(join(work, 'tree/')), Buffer.from([0xff])]), '')
  const { code, stderr } = await cli(['cp', `${taskId}:tree`, 'out'])
  expect(code).toBe(1) // the name that is not UTF-8
  expect(stderr).not.toMatch(/[\u001b\u0007]/)
  for (const name of ['up', 'etc', 'sneaky']) expect(stderr).toContain(`tree/${name}: a link that leads out`)
  expect(readdirSync(join(here, 'out')).sort()).toEqual(['\u001b]0;owned\u0007', 'sub'])
  // What an earlier copy left here as a link is not entered, and not written through.
  symlinkSync(here, join(here, 'out/dir'))
  mkdirSync(join(work, 'tree/dir'))
  writeFileSync(join(work, 'tree/dir/secret'), 'gone')
  symlinkSync(secret, join(here, 'out/file'))
  writeFileSync(join(work, 'tree/file'), 'gone')
  const guessed = createHash('sha256')
    .update([taskId, 'tree/file', await etagOf('tree/file')].join('\0'))
    .digest('hex')
  const part = join(here, `out/.file.${guessed.slice(0, 16)}.rclaude-part`)
  symlinkSync(secret, part)
  chmodSync(secret, 0o600)
  await cli(['cp', `${taskId}:tree/.`, 'out'])
  expect(existsSync(part)).toBe(false)
  expect([readFileSync(secret, 'utf8'), statSync(secret).mode & 0o777]).toEqual(['kept', 0o600])
  expect(readFileSync(join(here, 'out/file'), 'utf8')).toBe('gone')
  const listed = await works('ls', '-l', `${taskId}:tree`)
  expect(listed).not.toMatch(/[\u001b\u0007]/)
}, 60_000)

/** A way to the gateway that breaks after so many bytes, again and again. */
async function brittleWay(bytes: number): Promise<{ url: string; cuts(): number }> {
  let cuts = 0
  const { port } = new URL(world.url)
  const open = new Set<Socket>()
  const relay = createServer((client) => {
    const gateway = connect(Number(port), '127.0.0.1')
    let left = bytes
    for (const [from, to] of [
      [client, gateway],
      [gateway, client],
    ] as const) {
      open.add(from)
      from.on('error', () => {})
      from.on('close', () => to.destroy())
      from.on('data', (piece: Buffer) => {
        left -= piece.length
        if (left < 0 && !client.destroyed) {
          cuts++
          client.destroy()
        } else if (!to.write(piece)) {
          from.pause()
          to.once('drain', () => from.resume())
        }
      })
    }
  })
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    for (const socket of open) socket.destroy()
    relay.close()
  })
  return { url: `http://127.0.0.1:${(relay.address() as AddressInfo).port}`, cuts: () => cuts }
}

test('a copy whose connection is cut again and again goes on where it was, both ways', async () => {
  const large = randomBytes(40_000_000)
  writeFileSync(join(here, 'large'), large)
  const way = await brittleWay(15_000_000)
  const env = { RCLAUDE_GATEWAY: way.url }
  const sent = await cli(['cp', 'large', `${taskId}:large`], { env })
  expect([sent.code, way.cuts() > 1]).toEqual([0, true])
  expect(readFileSync(join(work, 'large')).equals(large)).toBe(true)
  const before = way.cuts()
  const fetched = await cli(['cp', `${taskId}:large`, 'back'], { env })
  expect([fetched.code, way.cuts() - before > 1]).toEqual([0, true])
  expect(readFileSync(join(here, 'back')).equals(large)).toBe(true)
  expect(readdirSync(here).sort()).toEqual(['back', 'large'])
}, 60_000)

test('edit sends what the editor made, and overwrites nothing that changed meanwhile', async () => {
  writeFileSync(join(work, 'f'), 'one\n')
  const env = (EDITOR: string) => ({ env: { EDITOR, VISUAL: '' } })
  expect((await cli(['edit', `${taskId}:f`], env('sed -i s/one/two/'))).code).toBe(0)
  expect(readFileSync(join(work, 'f'), 'utf8')).toBe('two\n')
  expect((await cli(['edit', `${taskId}:new`], env('cp /etc/hostname'))).code).toBe(0)
  expect(existsSync(join(work, 'new'))).toBe(true)
  const script = join(here, 'racing')
  writeFileSync(script, `#!/bin/sh\necho theirs > ${join(work, 'f')}\necho mine > "$1"\n`, { mode: 0o755 })
  const lost = await cli(['edit', `${taskId}:f`], env(script))
  expect(lost.code).toBe(9)
  expect(lost.stderr).toContain('was changed in the task while you edited it')
  const kept = /kept in (\S+)/.exec(lost.stderr)?.[1] ?? ''
  expect([readFileSync(kept, 'utf8'), readFileSync(join(work, 'f'), 'utf8')]).toEqual(['mine\n', 'theirs\n'])
  expect((await cli(['edit', `${taskId}:f`], env('false'))).stderr).toContain('ended with 1')
}, 60_000)

test('a watch comes through the gateway as it happens', async () => {
  const url = `${world.url}/v1/tasks/${taskId}/files/?watch=1`
  const reader = await SseReader.open(url, { authorization: `Bearer ${world.adminToken}` })
  onTestFinished(() => reader.close())
  expect((await reader.next())?.event).toBe('ready')
  writeFileSync(join(work, 'made'), '')
  const event = await reader.next()
  expect(FileChanges.parse(event?.data).changes).toMatchObject([{ kind: 'created', path: 'made' }])
}, 30_000)

test('far into a file of 10 GB is as near as its beginning, and a gigabyte passes in constant memory', async () => {
  await works('exec', taskId, '--', 'truncate', '-s', '10G', 'sparse')
  const headers = { authorization: `Bearer ${world.adminToken}` }
  const url = `${world.url}/v1/tasks/${taskId}/files/sparse`
  const far = await fetch(url, { headers: { ...headers, range: 'bytes=10737418000-' } })
  expect([far.status, (await far.arrayBuffer()).byteLength]).toEqual([206, 240])
  const agents = world.processes().filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('agent.js'))
  expect(agents).toHaveLength(1)
  const residentMb = () => rssOf(agents[0] ?? 0) / 1_024 ** 2
  const before = residentMb()
  let most = before
  let total = 0
  const whole = await fetch(url, { headers: { ...headers, range: 'bytes=0-1073741823' } })
  for await (const piece of whole.body ?? []) {
    total += piece.length
    if (total % (64 * 1024 * 1024) < piece.length) most = Math.max(most, residentMb())
  }
  expect(total).toBe(1_073_741_824)
  expect(most - before).toBeLessThan(96)
}, 60_000)
