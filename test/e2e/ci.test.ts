/** The scripts of docs/ci.md as they stand there, run and cancelled as a CI runner does it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { bash, hang, say, steps } from '../../demo/model-server.ts'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import { eventually } from '../helpers/eventually.ts'
import { printed } from '../helpers/printed.ts'
import { makeRepository } from '../helpers/repository.ts'
import { runLines } from '../helpers/run-lines.ts'
import { startWorld, type World, type WorldOptions } from '../helpers/world.ts'

const docs = readFileSync('docs/ci.md', 'utf8')

/** The block of a `run: |` between two markers, without its indentation. */
function scriptOf(name: string): string {
  const block = new RegExp(`# ${name}:start\\n\\s*run: \\|\\n([\\s\\S]*?)\\n\\s*# ${name}:end`).exec(docs)?.[1] ?? ''
  const indentation = /^ */.exec(block)?.[0].length ?? 0
  return block
    .split('\n')
    .map((line) => line.slice(indentation))
    .join('\n')
}

const FIX = "sed -i 's/a - b/a + b/' calc.js"

interface Runner {
  world: World
  temp: string
  /** Starts a step as GitHub's runner does. */
  step(name: string, env?: Record<string, string>): { process: ChildProcess; ended: Promise<Ended> }
  lines(): ReturnType<typeof runLines>
}
interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

async function startRunner(options: WorldOptions): Promise<Runner> {
  const world = await startWorld(options)
  const cwd = await makeRepository(world)
  const temp = join(world.directory, 'runner')
  const bin = join(world.directory, 'bin')
  for (const folder of [temp, bin]) mkdirSync(folder)
  symlinkSync(resolve('dist/rclaude.js'), join(bin, 'rclaude'))
  await world.cli(['init', '--unsandboxed'], { env: world.asAdmin })
  return {
    world,
    temp,
    step(name, env = {}) {
      const file = join(temp, `${name}.sh`)
      expect(scriptOf(name)).toContain('rclaude')
      writeFileSync(file, scriptOf(name))
      const child = spawn('bash', ['--noprofile', '--norc', '-eo', 'pipefail', file], {
        cwd,
        env: {
          ...world.userEnvironment(),
          PATH: `${bin}:${process.env.PATH}`,
          ...world.asAdmin,
          ...{ RUNNER_TEMP: temp, PROMPT: 'fix the addition', CHECK: 'true', GRACE: '5s', KEY: 'gh-1-1', ...env },
        },
      })
      let stdout = ''
      let stderr = ''
      child.stdout.on('data', (chunk) => (stdout += chunk))
      child.stderr.on('data', (chunk) => (stderr += chunk))
      const ended = new Promise<Ended>((done) =>
        child.once('close', (code, signal) => done({ code, signal, stdout, stderr })),
      )
      return { process: child, ended }
    },
    lines: () => runLines(readFileSync(join(temp, 'run.ndjson'), 'utf8')),
  }
}

/** Until the coding agent works and hangs; what it had done is `partial`. */
const hanging = steps(bash('echo partial > notes.txt'), hang)
const working = (runner: Runner): Promise<string> =>
  eventually('the coding agent has done something', () => {
    const lines = readQuietly(join(runner.temp, 'run.ndjson'))
    return lines.includes('"status":"completed"') ? /"taskId":"(\w+)"/.exec(lines)?.[1] : undefined
  })

test('the scripts of docs/ci.md run a task, judge it, and publish its change; every line is of the schema', async () => {
  const runner = await startRunner({ script: steps(bash(FIX), say('Fixed the addition.')) })
  const run = await runner.step('ci-run', { CHECK: 'grep -q "a + b" calc.js', PROMPT: '-- "$HOME" `id`' }).ended
  expect(run, run.stderr).toMatchObject({ code: 0, stdout: '' })
  const lines = runner.lines()
  expect(lines[0]).toMatchObject({ type: 'run', schema: 'rclaude.run/1' })
  expect(lines.at(-1)).toMatchObject({ type: 'task', exitCode: 0, task: { state: 'ended', outcome: 'succeeded' } })
  expect(lines.slice(1, -1).map(({ seq }) => seq)).toEqual(lines.slice(1, -1).map((_, index) => index + 1))
  expect(lines[0]?.taskId).toBe(lines.at(-1)?.task?.id)

  const publish = await runner.step('ci-publish').ended
  expect(publish, publish.stderr).toMatchObject({ code: 0, stdout: expect.stringContaining('Fixed the addition.') })
  expect(readFileSync(join(runner.world.directory, 'project', 'change.patch'), 'utf8')).toContain('a + b')

  // The same key again: the same task, whose files are there, and nothing is launched.
  const again = await runner.step('ci-run', { CHECK: 'grep -q "a + b" calc.js', PROMPT: '-- "$HOME" `id`' }).ended
  expect(again, again.stderr).toMatchObject({ code: 0, stderr: expect.stringContaining('has its files already') })
  expect(runner.lines()[0]?.taskId).toBe(lines[0]?.taskId)
  const other = await runner.step('ci-run', { PROMPT: 'something else' }).ended
  expect(other).toMatchObject({ code: EXIT_CODES.conflict, stderr: expect.stringContaining('Idempotency-Key') })
  expect((await runner.world.api().call(routes.listTasks)).tasks).toHaveLength(1)
}, 60_000)

test('a job that is cancelled with SIGINT stops its task, and what it did can be published', async () => {
  const runner = await startRunner({ script: hanging })
  const run = runner.step('ci-run')
  await working(runner)
  run.process.kill('SIGINT')
  expect((await run.ended).code).toBe(EXIT_CODES.cancelled)
  expect(runner.lines().at(-1)).toMatchObject({ exitCode: EXIT_CODES.cancelled, task: { outcome: 'cancelled' } })
  const publish = await runner.step('ci-publish').ended
  expect(publish.code, publish.stderr).toBe(0)
  expect(readFileSync(join(runner.world.directory, 'project', 'change.patch'), 'utf8')).toMatch(/^\+partial$/m)
}, 60_000)

test('SIGTERM after SIGINT leaves at once, and the task is stopped all the same', async () => {
  const runner = await startRunner({ script: hanging })
  const run = runner.step('ci-run')
  const taskId = await working(runner)
  run.process.kill('SIGINT')
  await eventually('it is asked to stop', async () => (await runner.world.getTask(taskId)).stopRequested)
  run.process.kill('SIGTERM')
  const { code } = await run.ended
  expect([EXIT_CODES.cancelled, 128 + 15]).toContain(code) // the stop may have been quicker
  expect(await runner.world.ended(taskId)).toMatchObject({ outcome: 'cancelled' })
}, 60_000)

test('a job that is killed outright stops its task after the grace, and not before', async () => {
  const runner = await startRunner({ script: hanging })
  const run = runner.step('ci-run')
  const taskId = await working(runner)
  const killedAt = Date.now()
  run.process.kill('SIGKILL')
  await run.ended
  const task = await runner.world.ended(taskId)
  expect(task).toMatchObject({
    outcome: 'cancelled',
    message: expect.stringContaining('its client was gone for 5.0s'),
    stopRequested: { by: 'gateway' },
  })
  expect(Date.parse(task.stopRequested?.at ?? '') - killedAt).toBeGreaterThan(3_500) // the last sign was before the kill
  const publish = await runner.step('ci-publish').ended
  expect(readFileSync(join(runner.world.directory, 'project', 'change.patch'), 'utf8'), publish.stderr).toMatch(
    /^\+partial$/m,
  )
}, 60_000)

test('a gateway that is away for longer than the grace, and a client that is for less, stop nothing', async () => {
  const world = await startWorld()
  const running = world.startCli(
    ['run', '--unsandboxed', '--no-workspace', '--on-disconnect', 'stop:5s', '--', 'sh', '-c', 'echo ready; sleep 18'],
    { env: world.asAdmin },
  )
  await printed(running.process, 'ready')
  running.process.kill('SIGSTOP')
  await pause(3_000)
  running.process.kill('SIGCONT')
  await pause(1_500)
  await world.killGateway()
  await pause(7_000)
  await world.startGateway()
  const { code, stderr } = await running.result
  expect(code, stderr).toBe(0)
}, 60_000)

test('who detaches on a terminal takes the lease along: the task goes on', async () => {
  const world = await startWorld()
  const terminal = await world.startOnTerminal(
    ['run', '--unsandboxed', '--no-workspace', '--on-disconnect', 'stop:5s', '--', 'sh', '-c', 'echo ready; sleep 12'],
    {
      env: world.asAdmin,
      script: [
        { when: 'ready', type: '\u0003' },
        { when: 'etach', type: 'd' },
      ],
    },
  )
  expect(terminal.code, terminal.stdout).toBe(0)
  const [task] = (await world.api().call(routes.listTasks)).tasks
  expect(await world.ended(task?.id ?? '')).toMatchObject({ outcome: 'succeeded' })
}, 60_000)

test('SIGTERM on a terminal, as some runners have one, is nobody who leaves on purpose: the task is stopped', async () => {
  const world = await startWorld()
  const terminal = world.startOnTerminal(
    ['run', '--unsandboxed', '--no-workspace', '--on-disconnect', 'stop:5s', '--', 'sleep', '300'],
    { env: world.asAdmin, script: [] },
  )
  const taskId = await eventually(
    'there is a task',
    async () => (await world.api().call(routes.listTasks)).tasks[0]?.id,
  )
  await world.state(taskId, 'running')
  await pause(500) // it watches
  const [pid = 0] = world.processes().filter((one) => {
    const [program = '', script = ''] = readQuietly(`/proc/${one}/cmdline`).split('\0')
    return program.includes('node') && script.endsWith('rclaude.js')
  })
  expect(pid).toBeGreaterThan(0)
  process.kill(pid, 'SIGTERM')
  const { stdout } = await terminal
  expect(stdout).toMatch(/left; the gateway stops task_\w+ in 5\.0s/)
  expect(await world.ended(taskId)).toMatchObject({ outcome: 'cancelled', stopRequested: { by: 'gateway' } })
}, 60_000)

test('calls with one key at the same moment share one task, and all of them see it through', async () => {
  const world = await startWorld()
  const cwd = await makeRepository(world)
  const args = ['run', '--json', '--unsandboxed', '--idempotency-key', 'same', '--', 'sh', '-c', 'sleep 1; cat calc.js']
  const ran = await Promise.all([1, 2, 3].map(() => world.cli(args, { cwd, env: world.asAdmin })))
  expect(ran.map(({ code, stderr }) => `${code} ${code === 0 ? '' : stderr}`)).toEqual(['0 ', '0 ', '0 '])
  expect(new Set(ran.map(({ stdout }) => runLines(stdout)[0]?.taskId)).size).toBe(1)
  expect((await world.api().call(routes.listTasks)).tasks).toHaveLength(1)
}, 60_000)

test.each([
  [['--on-disconnect', 'stop:1s'], /at least 5s/],
  [['--on-disconnect', 'stop'], /stop:GRACE/],
  [['--on-disconnect', 'stop:30s', '--detach'], /--detach leaves the task at once/],
])('%j is refused before anything is launched', async (options, message) => {
  const world = await startWorld()
  const ran = await world.cli(['run', ...options, '--no-workspace', '--', 'true'], { env: world.asAdmin })
  expect(ran).toMatchObject({ code: EXIT_CODES.usage, stderr: expect.stringMatching(message) })
  expect((await world.api().call(routes.listTasks)).tasks).toEqual([])
})

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

function readQuietly(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
