/** Bad moments of `exec`: a thousand at once, one that does not want to end, a flood that nobody reads. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { routes } from '../../protocol/routes.ts'
import { eventually } from '../helpers/eventually.ts'
import { rssOf } from '../helpers/memory.ts'
import { World } from '../helpers/world.ts'

const MANY = 1_000
const STARTED_AT_ONCE = 25
const MIB = 1024 ** 2
/** More than the disk quota of a process. */
const FLOOD_BYTES = 400_000_000
/** A window, what lies in sockets and streams on the way, and what garbage collection leaves until later. */
const FLOOD_MIB = 96
/** Node itself is half of it. */
const CLI_MIB = 200
/** A journal, pipes and a child object for each. */
const MANY_MIB = 150

const world = new World()

beforeAll(() => world.startGateway())
afterAll(() => world.close(), 60_000)

async function runningTask() {
  const { id } = await world.createTask({ agent: 'command', command: ['sleep', '1000'], workspace: { kind: 'none' } })
  await world.state(id, 'running')
  return id
}

async function stop(taskId: string): Promise<void> {
  await world.api().call(routes.stopTask, { params: { taskId }, body: {} })
  await world.ended(taskId)
}

const cli = (...args: string[]) => world.cli(args, { env: world.asAdmin })
const commandsOf = (word: string) => world.commands().filter((command) => command.includes(word))

/** The one agent of this world, while there is one task. */
function agentPid(): number {
  const at = world.commands().findIndex((command) => command.includes('agent.js'))
  return world.processes()[at] ?? 0
}

test('a thousand run at once, one more is refused by the name of the limit, and none is left when the task ends', async () => {
  const taskId = await runningTask()
  const start = (argv: string[]) =>
    fetch(`${world.url}/v1/tasks/${taskId}/processes`, {
      method: 'POST',
      headers: { ...world.api().headers, 'content-type': 'application/json' },
      body: JSON.stringify({ argv, detached: true }),
    })
  const agent = agentPid()
  const before = rssOf(agent)
  let left = MANY
  const starter = async () => {
    while (left-- > 0) expect((await start(['sleep', '1001'])).status).toBe(201)
  }
  await Promise.all(Array.from({ length: STARTED_AT_ONCE }, starter))
  expect(commandsOf('sleep 1001')).toHaveLength(MANY)

  const refused = await start(['true'])
  const limit = expect.stringContaining('as many as limits.processes (1000) allows')
  expect([refused.status, await refused.json()]).toEqual([
    429,
    expect.objectContaining({ code: 'limit', detail: limit }),
  ])
  expect(await cli('exec', taskId, '--', 'true')).toMatchObject({ code: 125, stderr: limit })

  const listed = (await cli('processes', '-q', taskId)).stdout.trim().split('\n')
  expect(listed).toHaveLength(MANY)
  const killed = await cli('kill', ...listed.slice(0, 40))
  expect([killed.code, killed.stdout.trim().split('\n').length]).toEqual([0, 40])
  expect(await cli('exec', taskId, '--', 'true')).toMatchObject({ code: 0 })
  expect((rssOf(agent) - before) / MIB).toBeLessThan(MANY_MIB)
  await stop(taskId)
  expect(commandsOf('sleep 1001')).toEqual([])
}, 90_000)

test('what ignores interrupt and TERM is killed after the grace, by kill and by --timeout, and both say so', async () => {
  const taskId = await runningTask()
  const deaf = ['sh', '-c', 'trap "" INT TERM; echo ready; while :; do sleep 0.05; done']
  const detached = (await cli('exec', '--detach', taskId, '--', ...deaf)).stdout.trim()
  const [killed, timedOut] = await Promise.all([
    cli('kill', `${taskId}/${detached}`),
    cli('exec', '--timeout', '1s', taskId, '--', ...deaf),
  ])
  const why = 'it did not end on SIGINT and SIGTERM, so it was killed (SIGKILL)'
  expect(killed).toMatchObject({ code: 0, stdout: `${detached}: it was stopped; ${why}\n` })
  expect(timedOut).toMatchObject({
    code: 124,
    stdout: 'ready\n',
    stderr: `rclaude: its time was over (--timeout 1.0s); ${why}\n`,
  })
  expect((await cli('processes', '-a', taskId)).stdout).toMatch(/SIGKILL \(stopped\)[\s\S]*SIGKILL \(timeout\)/)
  await stop(taskId)
}, 60_000)

test('a flood that its client does not read waits in bounded memory, and goes on when it does', async () => {
  const taskId = await runningTask()
  const pids = [agentPid(), world.gatewayPid]
  const before = pids.map(rssOf)
  const flood = `head -c ${FLOOD_BYTES} /dev/zero; echo end >&2`
  const exec = spawn(process.execPath, ['dist/rclaude.js', 'exec', taskId, '--', 'sh', '-c', flood], {
    env: { ...world.userEnvironment(), ...world.asAdmin },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const { stdout } = exec
  await once(stdout, 'readable')
  const most = [0, 0]
  for (let look = 0; look < 60; look++) {
    await new Promise((resolve) => setTimeout(resolve, 25)) // nothing can be awaited: that nothing more comes is the point
    for (const [at, pid] of pids.entries()) most[at] = Math.max(most[at] ?? 0, rssOf(pid) - (before[at] ?? 0))
  }
  for (const [at, who] of ['agent', 'gateway'].entries()) expect((most[at] ?? 0) / MIB, who).toBeLessThan(FLOOD_MIB)
  expect(rssOf(exec.pid ?? 0) / MIB, 'CLI').toBeLessThan(CLI_MIB)
  let bytes = 0
  stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  const [code] = await once(exec, 'close')
  expect([code, bytes]).toEqual([0, FLOOD_BYTES])
  await stop(taskId)
}, 60_000)

test('a detached flood goes to the disk in bounded memory, and what the quota dropped is told as a gap', async () => {
  const taskId = await runningTask()
  const agent = agentPid()
  const before = rssOf(agent)
  const id = (await cli('exec', '-d', taskId, '--', 'head', '-c', String(FLOOD_BYTES), '/dev/zero')).stdout.trim()
  let most = 0
  await eventually('the flood is over', async () => {
    most = Math.max(most, rssOf(agent) - before)
    const response = await world.api().raw(routes.getProcess, { params: { taskId, rest: id } })
    return ((await response.json()) as { exit?: unknown }).exit !== undefined
  })
  expect(most / MIB).toBeLessThan(FLOOD_MIB)
  const attached = spawn(process.execPath, ['dist/rclaude.js', 'attach', `${taskId}/${id}`], {
    env: { ...world.userEnvironment(), ...world.asAdmin },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let bytes = 0
  let said = ''
  attached.stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  attached.stderr.on('data', (chunk: Buffer) => {
    said += chunk
  })
  const [code] = await once(attached, 'close')
  const lost = Number(/^rclaude: bytes 0 to (\d+) of stdout are lost/m.exec(said)?.[1])
  expect(lost).toBeGreaterThan(0)
  expect([code, bytes + lost]).toEqual([0, FLOOD_BYTES])
  await stop(taskId)
}, 60_000)
