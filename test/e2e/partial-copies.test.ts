/** What `rclaude cp` says and returns when not all of a tree could be copied, and that the rest was. */
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { AS_NOBODY, giveToNobody } from '../helpers/nobody.ts'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { startWorld, World } from '../helpers/world.ts'

let world: World
let taskId: string
/** Of the task. */
let work: string
let here: string

beforeEach(async () => {
  world = new World(AS_NOBODY)
  here = join(world.directory, 'here')
  mkdirSync(here)
  giveToNobody(world.directory)
  await startWorld({ world })
  stopTasksAfterwards(world)
  const task = await world.createTask({ agent: 'command', command: ['sleep', '600'], workspace: { kind: 'none' } })
  taskId = task.id
  await world.state(taskId, 'running')
  work = (await cli(['exec', taskId, '--', 'pwd'])).stdout.trim()
})

const cli = (args: string[], env: Record<string, string> = {}) =>
  world.cli(args, { cwd: here, env: { ...world.asAdmin, ...AS_NOBODY, ...env } })
const latin1 = (folder: string, name: string) => Buffer.from(`${folder}/${name}`, 'latin1')
/** Each path that was named, with what was said of it. */
const saidOf = (stderr: string): Record<string, string> =>
  Object.fromEntries(
    [...stderr.matchAll(/^rclaude: (.+?): (.+)$/gm)].map(([, path = '', words = '']) => [
      path.replace(`${here}/`, ''),
      words,
    ]),
  )

interface Seen {
  method: string
  path: string
  query: URLSearchParams
}

/** A way to the gateway on which something happens before a request goes on, and before its answer does. */
async function watchedWay(hooks: {
  before?: (seen: Seen) => void
  /** @returns false to lose the answer and the connection */
  answered?: (seen: Seen) => boolean
}): Promise<Record<string, string>> {
  const pass = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const { pathname, searchParams: query } = new URL(incoming.url ?? '', world.url)
    const seen = { method: incoming.method ?? '', path: pathname.split('/files/')[1] ?? '', query }
    hooks.before?.(seen)
    const { method, headers } = incoming
    const onward = request(`${world.url}${incoming.url}`, { method, headers, agent: false }, (response) => {
      if (hooks.answered?.(seen) === false) incoming.socket.destroy()
      else response.pipe(outgoing.writeHead(response.statusCode ?? 502, response.headers))
    })
    onward.on('error', () => incoming.socket.destroy())
    incoming.pipe(onward)
  }
  const way = createServer(pass)
  await new Promise<void>((resolve) => way.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    way.closeAllConnections()
    way.close()
  })
  return { RCLAUDE_GATEWAY: `http://127.0.0.1:${(way.address() as AddressInfo).port}` }
}

const LARGE = 'x'.repeat(1_000_000)

test('of a tree that is fetched, each file that is not here as it was is named, the rest is here, and the exit code is 1', async () => {
  mkdirSync(join(work, 'tree/closed'), { recursive: true })
  for (const name of ['fine', 'secret', 'vanishes', 'closed/f']) writeFileSync(join(work, 'tree', name), name)
  writeFileSync(join(work, 'tree/grows'), LARGE)
  writeFileSync(latin1(`${work}/tree`, 'caf\xe9'), '')
  symlinkSync('/etc', join(work, 'tree/outside'))
  execFileSync('mkfifo', [join(work, 'tree/pipe')])
  giveToNobody(join(work, 'tree'))
  for (const path of ['secret', 'closed']) chmodSync(join(work, 'tree', path), 0)
  const env = await watchedWay({
    before: ({ path, query }) => {
      if (path === 'tree/vanishes' && query.has('stat')) rmSync(join(work, path))
    },
    answered: ({ path, query }) => {
      if (path === 'tree/grows' && !query.has('stat')) appendFileSync(join(work, path), 'more')
      return true
    },
  })
  const { code, stderr } = await cli(['cp', `${taskId}:tree`, 'back'], env)
  expect(saidOf(stderr)).toEqual({
    'tree/caf\ufffd': expect.stringContaining('its name is not UTF-8'),
    'tree/closed': expect.stringContaining('may not be read'),
    'tree/grows': 'it changed while it was fetched: fetch it again',
    'tree/outside': 'a link that leads out of what is copied is left out',
    'tree/pipe': 'a fifo is left out',
    'tree/secret': expect.stringContaining('may not be read'),
    'tree/vanishes': 'it is not there any more',
  })
  expect(code).toBe(1)
  expect(readdirSync(join(here, 'back')).sort()).toEqual(['closed', 'fine', 'grows'])
  expect(readFileSync(join(here, 'back/grows'), 'utf8')).toBe(LARGE)

  const tar = await cli(['cp', `${taskId}:tree`, '-'])
  expect([tar.code, tar.stderr]).toEqual([
    1,
    expect.stringContaining('tree: only a part came: something in it cannot be read'),
  ])
  for (const name of ['fine', 'grows', 'outside']) expect(tar.stdout).toContain(name)

  for (const path of ['secret', 'closed']) chmodSync(join(work, 'tree', path), 0o755)
  const several = await cli(['cp', `${taskId}:tree/missing`, `${taskId}:tree/fine`, '.'])
  expect([several.code, saidOf(several.stderr)]).toEqual([
    1,
    { [`${taskId}:tree/missing`]: 'the task has no tree/missing' },
  ])
  expect(readFileSync(join(here, 'fine'), 'utf8')).toBe('fine')
}, 60_000)

test('of a tree that is sent, the same', async () => {
  mkdirSync(join(here, 'tree/a-first'), { recursive: true })
  mkdirSync(join(here, 'tree/closed'))
  for (const name of ['fine', 'secret', 'vanishes', 'closed/f']) writeFileSync(join(here, 'tree', name), name)
  writeFileSync(join(here, 'tree/grows'), LARGE)
  writeFileSync(join(here, 'tree/shrinks'), LARGE.repeat(20))
  writeFileSync(latin1(`${here}/tree`, 'caf\xe9'), '')
  execFileSync('mkfifo', [join(here, 'tree/pipe')])
  giveToNobody(join(here, 'tree'))
  for (const path of ['secret', 'closed']) chmodSync(join(here, 'tree', path), 0)
  const env = await watchedWay({
    before: ({ method, path }) => {
      if (path === 'tree/a-first') rmSync(join(here, 'tree/vanishes')) // its name was read before
      if (method === 'PUT' && path === 'tree/grows') appendFileSync(join(here, path), 'more')
      if (method === 'PUT' && path === 'tree/shrinks') writeFileSync(join(here, path), 'short')
    },
  })
  const { code, stderr } = await cli(['cp', 'tree', `${taskId}:`], env)
  expect(saidOf(stderr)).toEqual({
    'tree/caf\ufffd': expect.stringContaining('its name is not UTF-8'),
    'tree/closed': 'EACCES: permission denied',
    'tree/grows': 'it changed while it was sent: send it again',
    'tree/pipe': 'what is neither file nor directory is left out',
    'tree/secret': 'EACCES: permission denied',
    'tree/shrinks': 'it changed while it was sent: send it again',
    'tree/vanishes': 'ENOENT: no such file or directory',
  })
  expect(code).toBe(1)
  expect(readdirSync(join(work, 'tree')).sort()).toEqual(['a-first', 'closed', 'fine', 'grows'])
  expect(readFileSync(join(work, 'tree/grows'), 'utf8')).toBe(LARGE)

  const several = await cli(['cp', 'missing', 'tree/fine', `${taskId}:tree/a-first`])
  expect([several.code, saidOf(several.stderr)]).toEqual([1, { missing: expect.stringContaining('cannot read') }])
  expect(readdirSync(join(work, 'tree/a-first'))).toEqual(['fine'])
}, 60_000)

test('a large file whose last answer is lost is not sent a second time', async () => {
  writeFileSync(join(here, 'large'), LARGE.repeat(40))
  giveToNobody(here)
  const sent: Seen[] = []
  let isLost = false
  const env = await watchedWay({
    before: (seen) => {
      if (seen.method === 'PUT') sent.push(seen)
    },
    answered: () => {
      if (isLost || !existsSync(join(work, 'large'))) return true
      isLost = true
      return false
    },
  })
  const { code, stderr } = await cli(['cp', 'large', `${taskId}:`], env)
  expect([code, isLost, stderr]).toEqual([0, true, 'rclaude: the connection was cut; going on where it was\n'])
  expect(sent).toHaveLength(3) // of 16 MiB at most
}, 60_000)
