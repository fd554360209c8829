/** The CLI as a user has it: the built program, against a real gateway, real agents and the real Claude Code. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { bash, hang, say, steps } from '../../demo/model-server.ts'
import { EXIT_CODES } from '../../protocol/errors.ts'
import { TaskEvent } from '../../protocol/event.ts'
import { Task } from '../../protocol/task.ts'
import { eventually } from '../helpers/eventually.ts'
import { printed } from '../helpers/printed.ts'
import { makeRepository } from '../helpers/repository.ts'
import { git, MODEL_KEY, startWorld, type World } from '../helpers/world.ts'

const FIX = "sed -i 's/a - b/a + b/' calc.js"
const fixIt = steps(bash(FIX), say('Fixed the addition.'))

/** `rclaude` in a folder, as the administrator of the world's gateway, with consent. */
const user = (world: World, cwd: string) => {
  const options = (more: Record<string, string> = {}) => ({ cwd, env: { ...world.asAdmin, ...more } })
  return {
    run: (...args: string[]) => world.cli(args, options()),
    start: (...args: string[]) => world.startCli(args, options()),
    env: options,
  }
}

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '')

test('run, diff, pull and apply: the change of the real Claude Code comes home beside uncommitted work', async () => {
  const world = await startWorld({ script: fixIt })
  const folder = await makeRepository(world)
  const rclaude = user(world, folder)

  const ran = await rclaude.run('run', '--unsandboxed', '--check', 'grep -q "a + b" calc.js', 'fix the addition')
  expect(ran, ran.stderr).toMatchObject({ code: 0 })
  expect(ran.stdout).toContain('Fixed the addition.')
  expect(ran.stdout).toMatch(/succeeded/)
  expect(ran.stdout).not.toContain('\u001b')
  expect(readFileSync(join(folder, 'calc.js'), 'utf8')).toContain('a - b')
  expect((await git(folder, 'status', '--porcelain')).trim()).toBe('?? notes.txt')

  const diff = await rclaude.run('diff', '@last')
  expect(diff.stdout).toMatch(/^\+export const add = \(a, b\) => a \+ b$/m)
  expect(diff.stdout).not.toContain('notes.txt')

  const pulled = await rclaude.run('pull', '@last')
  expect(pulled, pulled.stderr).toMatchObject({ code: 0 })
  const branch = (await git(folder, 'branch', '--list', 'rclaude/*', '--format=%(refname:short)')).trim()
  expect(await git(folder, 'show', `${branch}:calc.js`)).toContain('a + b')
  expect(await git(folder, 'log', '-1', '--format=%an <%ae>', branch)).toBe('User <user@example.org>\n')

  const applied = await rclaude.run('apply', '@last')
  expect(applied, applied.stderr).toMatchObject({ code: 0 })
  expect(readFileSync(join(folder, 'calc.js'), 'utf8')).toContain('a + b')
  expect(readFileSync(join(folder, 'notes.txt'), 'utf8')).toBe('not committed\n')
  expect((await rclaude.run('apply', '@last')).code).toBe(0) // again: nothing to do
})

test('apply reports a conflict as git does and exits with 9', async () => {
  const world = await startWorld({ script: fixIt })
  const folder = await makeRepository(world)
  const rclaude = user(world, folder)
  expect(await rclaude.run('run', '--unsandboxed', 'fix it')).toMatchObject({ code: 0 })
  writeFileSync(join(folder, 'calc.js'), 'export const add = (a, b) => a * b\n')
  const applied = await rclaude.run('apply', '@last')
  expect(applied.code).toBe(EXIT_CODES.conflict)
  expect(applied.stdout + applied.stderr).toContain('calc.js')
})

test('--json prints events that the schema knows, and the task last', async () => {
  const world = await startWorld({ script: fixIt })
  const folder = await makeRepository(world)
  const { stdout, code } = await user(world, folder).run('run', '--json', '--unsandboxed', 'fix it')
  expect(code).toBe(0)
  const values = lines(stdout).map((line) => JSON.parse(line) as { type: string; task?: unknown })
  expect(Task.parse(values.at(-1)?.task)).toMatchObject({ state: 'ended', outcome: 'succeeded' })
  const events = values.filter((value) => 'seq' in value).map((value) => TaskEvent.parse(value))
  expect(events.map((event) => event.seq)).toEqual(events.map((_, index) => index + 1))
  expect(events.length).toBeGreaterThan(10)
})

test.each([
  ['no_changes', steps(say('Nothing to do.')), []],
  ['blocked', steps(bash(FIX), say('Not allowed.')), ['--permission-mode', 'default']],
  ['timeout', steps(hang), ['--timeout', '3s']],
  ['check_failed', fixIt, ['--check', 'false']],
] as const)('the exit code of a run that ended as %s is in the table', async (name, script, options) => {
  const world = await startWorld({ script })
  const folder = await makeRepository(world)
  const ran = await user(world, folder).run('run', '--unsandboxed', ...options, 'do it')
  expect(ran.code, ran.stderr).toBe(EXIT_CODES[name])
})

test('a plain command runs on the files as they are, and its failure is the exit code', async () => {
  const world = await startWorld()
  const rclaude = user(world, await makeRepository(world))
  const good = await rclaude.run('run', '--unsandboxed', '--', 'cat', 'notes.txt')
  expect(good).toMatchObject({ code: 0, stdout: expect.stringContaining('not committed') })
  expect((await rclaude.run('run', '--unsandboxed', '--', 'sh', '-c', 'exit 3')).code).toBe(EXIT_CODES.failed)
})

test('a prompt comes from a file or from standard input', async () => {
  const world = await startWorld({ script: steps(say('Heard.')) })
  const folder = await makeRepository(world)
  const rclaude = user(world, folder)
  writeFileSync(join(folder, 'prompt.md'), 'from a file, $HOME and "quotes"')
  await rclaude.run('run', '--unsandboxed', '-f', 'prompt.md')
  await world.cli(['run', '--unsandboxed', '-'], { ...rclaude.env(), stdin: 'from standard input' })
  const prompts = world.model.requests.flatMap(({ conversation }) => (conversation ? [conversation.prompt] : []))
  expect(prompts).toEqual(['from a file, $HOME and "quotes"', 'from standard input'])
})

test('nothing is launched without model credentials, and the message says what to set', async () => {
  const world = await startWorld()
  const folder = await makeRepository(world)
  const ran = await user(world, folder).run('run', '--unsandboxed', 'do it')
  expect(ran.code).toBe(EXIT_CODES.usage)
  expect(ran.stderr).toMatch(/ANTHROPIC_API_KEY/)
  expect(JSON.parse((await user(world, folder).run('ps', '-a', '--json')).stdout.split('\n')[0] ?? '')).toMatchObject({
    tasks: [],
  })
})

test('an unsandboxed run needs consent where nobody can be asked', async () => {
  const world = await startWorld({ script: fixIt })
  const ran = await user(world, await makeRepository(world)).run('run', 'do it')
  expect(ran.code).toBe(EXIT_CODES.usage)
  expect(ran.stderr).toMatch(/--unsandboxed/)
  expect(world.model.requests).toEqual([])
})

test('a client that is killed leaves the task running, and attach goes on to its end', async () => {
  const world = await startWorld()
  const rclaude = user(world, await makeRepository(world))
  const watching = rclaude.start(
    'run',
    '--unsandboxed',
    '--',
    'sh',
    '-c',
    'for i in 1 2 3 4 5 6; do echo line $i; sleep 0.5; done',
  )
  await printed(watching.process, 'line 2')
  watching.process.kill('SIGKILL')
  await watching.result
  const attached = await rclaude.run('attach', '@last')
  expect(attached.code).toBe(0)
  expect(
    lines(attached.stdout)
      .filter((line) => /line \d/.test(line))
      .map((line) => line.trim()),
  ).toEqual([1, 2, 3, 4, 5, 6].map((n) => expect.stringContaining(`line ${n}`)))
})

test.each(['SIGINT', 'SIGTERM'] as const)(
  '%s without a terminal stops the task and saves what it did',
  async (signal) => {
    const world = await startWorld()
    const folder = await makeRepository(world)
    const rclaude = user(world, folder)
    const running = rclaude.start(
      'run',
      '--unsandboxed',
      '--',
      'sh',
      '-c',
      'echo partial > notes.txt; echo ready; sleep 300',
    )
    await printed(running.process, 'ready')
    running.process.kill(signal)
    const { code } = await running.result
    expect(code).toBe(EXIT_CODES.cancelled)
    expect((await rclaude.run('diff', '@last')).stdout).toMatch(/^\+partial$/m)
  },
)

test('Ctrl-C on a terminal asks, and detaching leaves the task running', async () => {
  const world = await startWorld()
  const folder = await makeRepository(world)
  const rclaude = user(world, folder)
  const terminal = world.startOnTerminal(
    ['run', '--unsandboxed', '--', 'sh', '-c', 'echo ready; sleep 4; echo finished'],
    {
      ...rclaude.env(),
      script: [
        { when: 'ready', type: '\u0003' },
        { when: 'etach', type: 'd' },
      ],
    },
  )
  const { code, stdout } = await terminal
  expect(code, stdout).toBe(0)
  expect(stdout).toMatch(/the task goes on/)
  expect((await rclaude.run('attach', '@last')).code).toBe(0)
})

test('exec passes arguments, output and exit code on exactly', async () => {
  const world = await startWorld()
  const rclaude = user(world, await makeRepository(world))
  const { stdout: id } = await rclaude.run('run', '--detach', '--unsandboxed', '--', 'sleep', '300')
  await world.state(id.trim(), 'running')
  await eventually(
    'the workspace is there',
    async () => (await rclaude.run('exec', '@last', '--', 'test', '-f', 'calc.js')).code === 0,
  )
  const odd = await rclaude.run('exec', '@last', '--', 'printf', '%s|', 'a b', '$HOME', "it's", '')
  expect(odd).toMatchObject({ code: 0, stdout: "a b|$HOME|it's||" })
  expect(await rclaude.run('exec', '@last', '--', 'sh', '-c', 'echo out; echo err >&2; exit 42')).toMatchObject({
    code: 42,
    stdout: 'out\n',
    stderr: 'err\n',
  })
  expect((await rclaude.run('exec', '@last', '--', 'sh', '-c', 'kill -TERM $$')).code).toBe(143)
  const echoed = await world.cli(['exec', '-i', '@last', '--', 'cat'], { ...rclaude.env(), stdin: 'through and back' })
  expect(echoed).toMatchObject({ code: 0, stdout: 'through and back' })
  expect(await rclaude.run('stop', '@last')).toMatchObject({ code: 0 })
})

test('exec goes on at the exact byte when the gateway is killed under it', async () => {
  const world = await startWorld()
  const rclaude = user(world, await makeRepository(world))
  const { stdout: id } = await rclaude.run('run', '--detach', '--unsandboxed', '--', 'sleep', '300')
  await world.state(id.trim(), 'running')
  const exec = rclaude.start(
    'exec',
    '@last',
    '--',
    'sh',
    '-c',
    'for i in $(seq 60); do echo $i; sleep 0.1; done; exit 5',
  )
  await printed(exec.process, '7\n')
  await world.killGateway()
  await world.startGateway()
  const { code, stdout } = await exec.result
  expect(code).toBe(5)
  expect(stdout).toBe(Array.from({ length: 60 }, (_, n) => `${n + 1}\n`).join(''))
  await rclaude.run('stop', '@last')
})

test('retry repeats the work from the same snapshot, whatever the folder has become', async () => {
  const world = await startWorld({ script: fixIt })
  const folder = await makeRepository(world)
  const rclaude = user(world, folder)
  await rclaude.run('run', '--unsandboxed', 'fix it')
  rmSync(join(folder, 'calc.js'))
  const again = await rclaude.run('retry', '@last', '--unsandboxed')
  expect(again, again.stderr).toMatchObject({ code: 0 })
  expect((await rclaude.run('diff', '@last')).stdout).toMatch(/a \+ b/)
  expect(Task.parse(JSON.parse((await rclaude.run('show', '--json', '@last')).stdout)).retryOf).toBeDefined()
})

test('continue goes on from the files and the conversation, on a kept machine and on a new one', async () => {
  const world = await startWorld({
    script: ({ prompt, prompts, calls }) =>
      calls.length === 0 ? bash(`echo '${prompt}' >> log.txt`) : say(`So far: ${prompts.join(', ')}.`),
  })
  const rclaude = user(world, await makeRepository(world))
  expect((await rclaude.run('run', '--unsandboxed', '--keep', '1h', 'first')).stdout).toContain('So far: first.')
  expect((await rclaude.run('continue', '--unsandboxed', '@last', 'second')).stdout).toContain('So far: first, second.')
  expect((await rclaude.run('stop', '@last')).code).toBe(0)
  const third = await rclaude.run('continue', '--unsandboxed', '@last', 'third')
  expect(third.stdout, third.stderr).toContain('So far: first, second, third.')
  await rclaude.run('stop', '@last')
  const diff = (await rclaude.run('diff', '@last')).stdout
  expect(diff).toMatch(/^\+first\n\+second\n\+third$/m)
  const task = Task.parse(JSON.parse((await rclaude.run('show', '--json', '@last')).stdout))
  expect(task.turns).toHaveLength(3)
  expect(task).toMatchObject({ state: 'ended', outcome: 'succeeded' })
})

test('--repo clones in the task, and the difference is against what was cloned', async () => {
  const world = await startWorld()
  const origin = await makeRepository(world, 'origin')
  const rclaude = user(world, world.directory)
  const ran = await rclaude.run(
    'run',
    '--unsandboxed',
    '--repo',
    `file://${origin}`,
    '--ref',
    'main',
    '--',
    'sh',
    '-c',
    FIX,
  )
  expect(ran, ran.stderr).toMatchObject({ code: 0 })
  expect((await rclaude.run('diff', '@last')).stdout).toMatch(/^\+.*a \+ b$/m)
})

test('a folder that is no repository is sent as it is, and apply works there', async () => {
  const world = await startWorld()
  const folder = join(world.directory, 'plain')
  await makeRepository(world, 'plain')
  rmSync(join(folder, '.git'), { recursive: true })
  const rclaude = user(world, folder)
  expect(await rclaude.run('run', '--unsandboxed', '--', 'sh', '-c', FIX)).toMatchObject({ code: 0 })
  expect(await rclaude.run('apply', '@last')).toMatchObject({ code: 0 })
  expect(readFileSync(join(folder, 'calc.js'), 'utf8')).toContain('a + b')
})

test('ps, show, logs, rm and audit tell of a task, and it is gone afterwards', async () => {
  const world = await startWorld()
  const rclaude = user(world, await makeRepository(world))
  await rclaude.run('run', '--unsandboxed', '--label', 'kind=test', '--', 'echo', 'hello there')
  const id = (await rclaude.run('ps', '-a', '-q', '--label', 'kind=test')).stdout.trim()
  expect(id).toMatch(/^task_/)
  expect((await rclaude.run('ps')).stdout).not.toContain(id)
  expect((await rclaude.run('show', id.slice(5, 11))).stdout).toContain('isolation')
  expect((await rclaude.run('logs', id)).stdout).toContain('hello there')
  expect((await rclaude.run('audit', '--json')).stdout).toContain('task.create')
  expect((await rclaude.run('rm', id)).code).toBe(0)
  const gone = await rclaude.run('show', id)
  expect(gone.code).not.toBe(0)
  expect(gone.stderr).toMatch(/there is no task/)
})

test('with no gateway configured run starts a local one, says so, and finds it again', async () => {
  const world = await startWorld()
  const folder = await makeRepository(world)
  const first = await world.cli(['run', '--unsandboxed', '--', 'true'], { cwd: folder })
  expect(first, first.stderr).toMatchObject({
    code: 0,
    stderr: expect.stringContaining('started a local gateway at http://127.0.0.1:'),
  })
  const second = await world.cli(['run', '--unsandboxed', '--', 'true'], { cwd: folder })
  expect(second).toMatchObject({ code: 0 })
  expect(second.stderr).not.toContain('started a local gateway')
  expect((await world.cli(['gateway', 'status'], { cwd: folder })).stdout).toContain('http://127.0.0.1:')
  expect((await world.cli(['gateway', 'stop'], { cwd: folder })).code).toBe(0)
})

test('two commands at once start one local gateway', async () => {
  const world = await startWorld()
  const folder = await makeRepository(world)
  const runs = await Promise.all(
    [1, 2, 3].map(() => world.cli(['run', '--unsandboxed', '--', 'true'], { cwd: folder })),
  )
  expect(runs.map((run) => run.code)).toEqual([0, 0, 0])
  expect(
    world.commands().filter((command) => command.includes('gateway.js') && command.includes(world.home)),
  ).toHaveLength(1)
  await world.cli(['gateway', 'stop'], { cwd: folder })
})

test('secrets are in no argv, log, database, event or patch', async () => {
  const world = await startWorld({
    script: steps(
      bash('echo "the key is $ANTHROPIC_API_KEY and $CANARY" > leak.txt; cat leak.txt; rm leak.txt; sleep 1'),
      say('Done.'),
    ),
  })
  const folder = await makeRepository(world)
  const canary = 'canary-5f2a9c81d7'
  const seen: string[] = []
  const timer = setInterval(() => seen.push(...world.commands()), 50)
  const ran = await world.cli(['run', '--unsandboxed', '--secret', 'CANARY', 'do it'], {
    cwd: folder,
    env: { ...world.asAdmin, CANARY: canary },
  })
  clearInterval(timer)
  expect([0, EXIT_CODES.no_changes]).toContain(ran.code)
  const database =
    readFileSync(join(world.data, 'gateway.db'), 'latin1') + readFileSync(join(world.data, 'gateway.db-wal'), 'latin1')
  const places = { argv: seen.join('\n'), stdout: ran.stdout, stderr: ran.stderr, log: world.gatewayLog, database }
  for (const [place, text] of Object.entries(places)) {
    expect(text.includes(canary), `${place} holds the secret`).toBe(false)
    expect(text.includes(MODEL_KEY), `${place} holds the model key`).toBe(false)
  }
  expect((await user(world, folder).run('logs', '--raw', '@last')).stdout).toContain('the key is *** and ***')
})
