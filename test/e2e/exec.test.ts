/** `rclaude exec` and what belongs to it: detach, list, attach, kill, users, variables from files, every exit code. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { routes } from '../../protocol/routes.ts'
import { eventually } from '../helpers/eventually.ts'
import { World } from '../helpers/world.ts'

const isRoot = process.getuid?.() === 0
const world = new World({ RCLAUDE_AGENTS__EXEC_USERS: '[nobody, no-such-user]' })
let taskId = ''

beforeAll(async () => {
  const groups = process.getgroups?.() ?? []
  if (isRoot) process.setgroups?.([0, 4, 42]) // gateway and agent inherit them, other users must not
  await world.startGateway()
  if (isRoot) process.setgroups?.(groups)
  const { id } = await world.createTask({ agent: 'command', command: ['sleep', '1000'], workspace: { kind: 'none' } })
  await world.state(id, 'running')
  taskId = id
}, 60_000)

afterAll(async () => {
  await world.api().call(routes.stopTask, { params: { taskId }, body: {} })
  await world.ended(taskId)
  await world.close()
}, 60_000)

const cli = (...args: string[]) => world.cli(args, { env: world.asAdmin })
const exec = (options: string[], ...argv: string[]) => cli('exec', ...options, taskId, '--', ...argv)

async function detach(...argv: string[]): Promise<string> {
  const { stdout, stderr, code } = await exec(['--detach'], ...argv)
  expect([code, stderr]).toEqual([0, ''])
  return stdout.trim()
}

test('every exit code there is comes through', async () => {
  const codes = Array.from({ length: 256 }, (_, code) => code)
  const left = codes.values()
  const seen: (string | undefined)[] = []
  const worker = async () => {
    for (const code of left) {
      const response = await world.api().raw(routes.exec, {
        params: { taskId },
        rawBody: JSON.stringify({ argv: ['sh', '-c', `exit ${code}`] }),
        headers: { 'content-type': 'application/json' },
      })
      seen[code] = (await response.text()).trim().split('\n').at(-1)
    }
  }
  await Promise.all(Array.from({ length: 8 }, worker))
  expect(seen).toEqual(codes.map((code) => JSON.stringify({ exit: { code, signal: null }, exitCode: code })))
})

test('a detached process is listed, attached to twice from its first byte, and keeps its exit code', async () => {
  const id = await detach(
    'sh',
    '-c',
    'echo one; echo two >&2; while [ ! -e go ]; do sleep 0.02; done; echo three; exit 5',
  )
  const row = (await cli('processes', taskId)).stdout.split('\n').find((line) => line.startsWith(id))
  expect(row).toMatch(/detached .* sh -c echo one/)
  const first = world.startCli(['attach', `${taskId}/${id}`], { env: world.asAdmin })
  let seen = ''
  first.process.stdout?.on('data', (chunk: Buffer) => {
    seen += chunk
  })
  await eventually('it shows what there is', () => seen === 'one\n')
  expect(await exec([], 'touch', 'go')).toMatchObject({ code: 0 })
  const whole = { code: 5, stdout: 'one\nthree\n', stderr: 'two\n' }
  expect(await first.result).toMatchObject(whole)
  expect(await cli('attach', `${taskId}/${id.slice(0, -2)}`)).toMatchObject(whole)
  expect((await cli('processes', taskId)).stdout).not.toContain(id)
  expect((await cli('processes', '-a', taskId)).stdout).toContain(id)
})

test('kill ends a process and says how, sends only the signal that is named, and refuses what it cannot', async () => {
  const polite = await detach('sh', '-c', 'trap "exit 3" INT; echo up; while :; do sleep 0.02; done')
  await eventually('the trap is set', async () => (await output(polite)) === 'up\n')
  expect(await cli('kill', `${taskId}/${polite}`)).toMatchObject({
    code: 0,
    stdout: `${polite}: it was stopped; it ended with exit code 3\n`,
  })
  expect(await cli('kill', `${taskId}/${polite}`)).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('exit code 3'),
  })

  const heard = await detach('sh', '-c', 'trap "echo hup" HUP; echo up; while :; do sleep 0.02; done')
  await eventually('the trap is set', async () => (await output(heard)) === 'up\n')
  for (const name of ['HUP', 'sighup'])
    expect(await cli('kill', '-s', name, `${taskId}/${heard}`)).toMatchObject({
      code: 0,
      stdout: `${heard}: SIGHUP was sent\n`,
    })
  await eventually('it heard one at least', async () => (await output(heard)).startsWith('up\nhup\n'))
  const refusals: [string[], number, string][] = [
    [['-s', 'NOPE', `${taskId}/${heard}`], 2, 'there is no signal SIGNOPE'],
    [['-s', '9 9', `${taskId}/${heard}`], 2, 'expected a name like TERM'],
    [['-s', 'HUP', `${taskId}/${polite}`], 9, 'has ended; SIGHUP was not sent'],
    [[`${taskId}/proc_zzzzzzzzzzzz`], 2, 'no process of'],
    [[`${taskId}/proc_`], 2, 'names no process'],
    [[`${taskId}`], 2, 'names no process'],
    [[`${taskId}/`], 2, 'names no process'],
    [[`${taskId}/${heard}/x`], 2, 'names no process'],
  ]
  for (const [args, code, message] of refusals)
    expect([args, await cli('kill', ...args)]).toEqual([
      args,
      expect.objectContaining({ code, stderr: expect.stringContaining(message) }),
    ])
  const json = JSON.parse((await cli('kill', '--json', `${taskId}/${heard}`)).stdout)
  expect(json.processes).toEqual([
    expect.objectContaining({ id: heard, exit: expect.objectContaining({ reason: 'stopped' }) }),
  ])
})

async function output(id: string): Promise<string> {
  const response = await world.api().raw(routes.getProcess, { params: { taskId, rest: `${id}/output` } })
  return response.text()
}

test('--detach --json and processes --json say what a program needs', async () => {
  const started = JSON.parse((await exec(['--detach', '--json'], 'true')).stdout)
  expect(started).toMatchObject({ taskId, id: expect.stringMatching(/^proc_/), argv: ['true'], detached: true })
  const { processes } = JSON.parse((await cli('processes', '-a', '--json', taskId)).stdout)
  expect(processes).toContainEqual(expect.objectContaining({ id: started.id, argv: ['true'] }))
})

test('--env-from sets variables, -e comes after it, and a bad line is named without its value', async () => {
  const file = join(world.directory, 'env')
  writeFileSync(file, '# comment\n\nA=from file\nB= as is "x" #\r\nC=overridden\nUNSET_HERE\nPATH_COPY=\n')
  const shown = await exec(
    ['--env-from', file, '-e', 'C=mine'],
    'sh',
    '-c',
    'printf "[%s]" "$A" "$B" "$C"; env | grep -c ^UNSET',
  )
  expect(shown.stdout).toBe('[from file][ as is "x" #][mine]0\n')
  writeFileSync(file, 'A=1\nnot a name=s3cret\n')
  const refused = await exec(['--env-from', file], 'true')
  expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('line 2') })
  expect(refused.stderr).not.toContain('s3cret')
  expect(await exec(['--env-from', join(world.directory, 'none')], 'true')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('ENOENT'),
  })
})

test.each([[['-u', 'nobody']], [['-t', '-u', 'nobody']]])(
  '%j becomes another user where the gateway names it, with the home and only the group of that user',
  async (options) => {
    if (!isRoot) return console.warn('exec --user: not tried as another user, since that takes root')
    const { code, stdout } = await exec(options, 'sh', '-c', 'id -u; id -G; echo $USER; echo $HOME')
    const [uid, groups, name, home] = stdout.split(/\r?\n/)
    expect([code, uid, name]).toEqual([0, '65534', 'nobody'])
    expect(groups).toBe('65534')
    expect(home).not.toContain(world.directory)
    expect(await exec(['-u', 'daemon'], 'true')).toMatchObject({
      code: 125,
      stderr: expect.stringContaining('agents.execUsers'),
    })
    expect(await exec(['-u', 'no-such-user'], 'true')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('no such user'),
    })
  },
)

test('a process of another user is stopped as any other', async () => {
  if (!isRoot) return console.warn('exec --user: not tried as another user, since that takes root')
  const id = (await exec(['--detach', '-u', 'nobody'], 'sh', '-c', 'setsid sleep 1002 & sleep 1002')).stdout.trim()
  const running = () => world.commands().filter((command) => command.startsWith('sleep 1002')).length
  await eventually('both run', () => running() === 2)
  expect(await cli('kill', `${taskId}/${id}`)).toMatchObject({ code: 0 })
  expect(running()).toBe(0)
})

test('arguments that are no UTF-8 are refused, and nothing is run', async () => {
  const script = `exec "${process.execPath}" dist/rclaude.js exec ${taskId} -- printf "$(printf 'a\\377b')"`
  const { status, stderr } = spawnSync('sh', ['-c', script], { env: { ...world.userEnvironment(), ...world.asAdmin } })
  expect([status, String(stderr)]).toEqual([2, expect.stringContaining('is not valid UTF-8')])
})

test('Ctrl-C, TERM and HUP reach the process, which decides; the third leaves it alone', async () => {
  const script =
    'trap "echo int" INT; trap "echo term" TERM; trap "echo hup; exit 6" HUP; echo up; while :; do sleep 0.02; done'
  const { process: client, result } = world.startCli(['exec', taskId, '--', 'sh', '-c', script], { env: world.asAdmin })
  let seen = ''
  client.stdout?.on('data', (chunk: Buffer) => {
    seen += chunk
  })
  await eventually('it runs', () => seen.endsWith('up\n'))
  client.kill('SIGINT')
  await eventually('it heard the interrupt', () => seen.endsWith('int\n'))
  client.kill('SIGHUP')
  expect(await result).toMatchObject({ code: 6, stdout: 'up\nint\nhup\n' })

  const deaf = world.startCli(['exec', taskId, '--', 'sh', '-c', 'trap "" INT; echo up; exec sleep 1003'], {
    env: world.asAdmin,
  })
  let said = ''
  deaf.process.stdout?.on('data', (chunk: Buffer) => {
    said += chunk
  })
  await eventually('it runs', () => said === 'up\n')
  const patience = setInterval(() => deaf.process.kill('SIGINT'), 100)
  const left = await deaf.result
  clearInterval(patience)
  expect([left.code, left.stderr]).toEqual([130, expect.stringContaining(`rclaude kill ${taskId}/proc_`)])
  const name = /task_\w+\/proc_\w+/.exec(left.stderr)?.[0] ?? ''
  expect(await cli('kill', name)).toMatchObject({ code: 0 })
  expect(world.commands().filter((command) => command.startsWith('sleep 1003'))).toEqual([])
})
