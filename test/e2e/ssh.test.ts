/**
 * ssh, scp, sftp and rsync as they come, through `rclaude ssh` and through what `rclaude ssh-config` writes, into a running
 * task. What editors do (a script on standard input, forwarded ports, several sessions on one connection) is done by ssh.
 */
import { execFile, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { routes } from '../../protocol/routes.ts'
import { eventually } from '../helpers/eventually.ts'
import { freePort } from '../helpers/free-port.ts'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { startWorld, type World } from '../helpers/world.ts'

const TOOLS = ['/usr/sbin/sshd', '/usr/bin/ssh', '/usr/bin/ssh-keygen', '/usr/bin/scp', '/usr/bin/sftp']
const missing = TOOLS.filter((tool) => !existsSync(tool))
if (missing.length > 0) console.log(`left out, because there is no ${missing.join(', ')}: ssh into tasks`)
const hasRsync = existsSync('/usr/bin/rsync')
if (!hasRsync) console.log('left out, because there is no /usr/bin/rsync: rsync into tasks')

const quick = { timeout: 90_000 }

interface Ran {
  code: number | null
  stdout: string
  stderr: string
}

/** A program that knows tasks by the user's own ssh configuration. */
function program(world: World, command: string, args: string[], input?: string | Buffer): Promise<Ran> {
  return new Promise((done) => {
    const options = { env: environment(world), encoding: 'utf8', maxBuffer: 64 * 1024 ** 2, timeout: 60_000 } as const
    const child = execFile(command, args, options, (error, stdout, stderr) =>
      done({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : null, stdout, stderr }),
    )
    child.stdin?.on('error', () => {})
    child.stdin?.end(input)
  })
}

const environment = (world: World) => ({ ...world.userEnvironment(), ...world.asAdmin })
const configOf = (world: World) => join(world.home, '.ssh', 'config')

async function running(env: Record<string, string> = {}, settings: Record<string, string> = {}) {
  const world = await startWorld({ settings })
  const task = await world.createTask({
    agent: 'command',
    command: ['sh', '-c', 'echo here > file.txt; sleep 600'],
    workspace: { kind: 'none' },
    env,
  })
  stopTasksAfterwards(world)
  await world.state(task.id, 'running')
  const workspace = join(world.data, 'run', task.id, 'work')
  await eventually('the workspace is there', () => existsSync(join(workspace, 'file.txt')))
  return { world, task: task.id, host: `${task.id}.rclaude`, user: { env: world.asAdmin }, workspace }
}

/** `ssh` reads the configuration of the account's home, whatever HOME says. */
const F = (world: World) => ['-F', configOf(world)]

test.skipIf(missing.length > 0)(
  'rclaude ssh runs what it is told, in the workspace and with its environment',
  quick,
  async () => {
    const { world, task, user } = await running({ GREETING: 'it\'s "fine"\n$HOME `x`' })
    const first = await world.cli(
      ['ssh', task, '--', 'printf "%s|" "$GREETING"; pwd; cat file.txt; echo oops >&2; exit 7'],
      user,
    )
    expect(first.stderr).toBe('oops\n')
    expect(first.stdout).toMatch(/^it's "fine"\n\$HOME `x`\|.*\/work\nhere\n$/)
    expect(first.code).toBe(7)
    const script = await world.cli(['ssh', task, 'sh', '-s'], {
      ...user,
      stdin: 'for i in 1 2 3; do echo $i; done; echo $RCLAUDE_TASK_ID\n',
    })
    expect(script.stdout).toBe(`1\n2\n3\n${task}\n`)

    // Nothing is left of a connection that is over, and none of its files was for others to read.
    const api = world.api()
    await eventually('no server is left', async () => {
      const { processes } = (await (await api.raw(routes.listProcesses, { params: { taskId: task } })).json()) as {
        processes: { exit?: unknown }[]
      }
      return processes.length === 2 && processes.every(({ exit }) => exit !== undefined)
    })
    const state = join(world.data, 'run', task, 'ssh')
    await eventually('its files are gone', () => readdirSync(state).every((name) => name.startsWith('host_key')))
    expect(statSync(state).mode & 0o077).toBe(0)
    expect(statSync(join(world.home, '.local/state/rclaude/ssh/id_ed25519')).mode & 0o077).toBe(0)
  },
)

test.skipIf(missing.length > 0)('ssh, scp, sftp and rsync reach a task after ssh-config --write', quick, async () => {
  const { world, task, host, user, workspace } = await running()
  mkdirSync(join(world.home, '.ssh'), { mode: 0o700 })
  writeFileSync(configOf(world), 'Host mine\n  User me\n', { mode: 0o600 })
  const unasked = await world.cli(['ssh-config', '--write'], user)
  expect(unasked.code).toBe(2)
  expect(unasked.stderr).toContain('say --yes if that is meant')
  expect((await world.cli(['ssh-config', '--write', '--yes'], user)).code).toBe(0)
  expect((await world.cli(['ssh-config', '--write'], user)).code).toBe(0) // it is there already
  expect(readFileSync(configOf(world), 'utf8').match(/^Include/gm)).toHaveLength(1)
  expect(statSync(configOf(world)).mode & 0o777).toBe(0o600)

  const hello = await program(world, 'ssh', [...F(world), host, 'echo hello from $PWD; exit 3'])
  expect(hello).toEqual({ code: 3, stdout: `hello from ${workspace}\n`, stderr: '' })
  const byShortName = await program(world, 'ssh', [
    ...F(world),
    '-l',
    process.env.USER ?? 'root',
    `${task.slice(5, 11)}.rclaude`,
    'cat file.txt',
  ])
  expect(byShortName.stdout).toBe('here\n')

  const bytes = randomBytes(5_000_000)
  const local = join(world.directory, 'a file')
  writeFileSync(local, bytes)
  expect((await program(world, 'scp', ['-q', ...F(world), local, `${host}:sent file`])).code).toBe(0)
  expect(sha(readFileSync(join(workspace, 'sent file')))).toBe(sha(bytes))
  const back = join(world.directory, 'back')
  expect((await program(world, 'scp', ['-q', ...F(world), `${host}:sent file`, back])).code).toBe(0)
  expect(sha(readFileSync(back))).toBe(sha(bytes))
  const batch = await program(
    world,
    'sftp',
    [...F(world), '-b', '-', host],
    'pwd\nmkdir made\nput "'.concat(local, '" made/x\nls made\n'),
  )
  expect(batch.stdout).toContain(`Remote working directory: ${workspace}`)
  expect(readFileSync(join(workspace, 'made', 'x')).length).toBe(bytes.length)
  if (hasRsync) {
    const synced = await program(world, 'rsync', [
      '-a',
      '-e',
      `ssh -F ${configOf(world)}`,
      `${host}:made/`,
      join(world.directory, 'synced'),
    ])
    expect(synced).toMatchObject({ code: 0, stderr: '' })
    expect(sha(readFileSync(join(world.directory, 'synced', 'x')))).toBe(sha(bytes))
  }
  expect((await world.cli(['ssh-config', '--remove'], user)).code).toBe(0)
  expect(readFileSync(configOf(world), 'utf8')).toBe('Host mine\n  User me\n')
})

test.skipIf(missing.length > 0)(
  'as an editor does: sessions over one connection, a forwarded port, nothing beyond the loopback',
  quick,
  async () => {
    const { world, host, user } = await running()
    expect((await world.cli(['ssh-config', '--write', '--yes'], user)).code).toBe(0)
    const server = createServer((_request, response) => response.end('from the task'))
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    onTestFinished(() => void server.close())
    const { port } = server.address() as { port: number }
    const [local, socks] = [await freePort(), await freePort()]
    const control = join(world.directory, 'mux')
    const shared = [...F(world), '-o', `ControlPath=${control}`]
    const master = spawn(
      'ssh',
      [...shared, '-T', '-N', '-M', '-L', `${local}:localhost:${port}`, '-D', String(socks), host],
      {
        env: environment(world),
        stdio: 'ignore',
      },
    )
    onTestFinished(() => void master.kill('SIGKILL'))
    await eventually('the connection is made', () => existsSync(control), 20_000)
    expect(await (await fetch(`http://127.0.0.1:${local}/`)).text()).toBe('from the task')
    const through = (url: string) =>
      program(world, 'curl', ['-sS', '--max-time', '10', '--socks5-hostname', `127.0.0.1:${socks}`, url])
    expect((await through(`http://localhost:${port}/`)).stdout).toBe('from the task')
    expect((await through(`http://192.0.2.1:${port}/`)).code).not.toBe(0)
    const sessions = await Promise.all(
      [1, 2, 3, 4].map((n) => program(world, 'ssh', [...shared, host, `echo ${n}; cat`], `in ${n}`)),
    )
    expect(sessions.map(({ stdout }) => stdout)).toEqual([1, 2, 3, 4].map((n) => `${n}\nin ${n}`))
    const gone = new Promise((done) => master.once('exit', done))
    await program(world, 'ssh', [...shared, '-O', 'exit', host])
    await gone
  },
)

test.skipIf(missing.length > 0)(
  'who is let in: the key of this user alone, to a task that shows the key the gateway told of',
  quick,
  async () => {
    const { world, task, host, user } = await running()
    expect((await world.cli(['ssh-config', '--write', '--yes'], user)).code).toBe(0)
    const other = await program(world, 'ssh', [...F(world), '-l', 'nobody', host, 'true'])
    expect(other.code).toBe(255)
    expect(other.stderr).toMatch(/takes \S+ only: ssh \S+@/)
    const password = await program(world, 'ssh', [
      ...F(world),
      '-o',
      'PubkeyAuthentication=no',
      '-o',
      'BatchMode=yes',
      host,
      'true',
    ])
    expect(password.stderr).toMatch(/Permission denied \(publickey\)/)
    const bad = await world
      .api()
      .raw(routes.openSsh, {
        params: { taskId: task },
        rawBody: JSON.stringify({ publicKey: 'command="rm -rf /" ssh-ed25519 AAAA' }),
        headers: { 'content-type': 'application/json' },
      })
      .catch((error: unknown) => error)
    expect(String(bad)).toMatch(/expected one public key of OpenSSH/)
    const ended = await world.cli(['stop', task], user)
    expect(ended.code).toBe(0)
    await world.ended(task)
    const late = await program(world, 'ssh', [...F(world), host, 'true'])
    expect(late.code).toBe(255)
    expect(late.stderr).toMatch(/ended at .*its machine is gone/)
  },
)

test.skipIf(missing.length > 0)(
  'a connection goes on over a gateway that is killed and comes back',
  quick,
  async () => {
    const port = await freePort()
    const { world, task } = await running({}, { RCLAUDE_LISTEN__PORT: String(port) })
    const words = ['ssh', task, 'while read line; do echo "got $line"; done; echo bye']
    const child = spawn(join('dist', 'rclaude.js'), words, {
      env: environment(world),
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    let heard = ''
    child.stdout.on('data', (chunk: Buffer) => {
      heard += chunk
    })
    child.stdin.write('one\n')
    await eventually('the first line is back', () => heard === 'got one\n')
    await world.killGateway()
    child.stdin.write('two\n')
    await world.startGateway()
    await eventually('the second line is back', () => heard === 'got one\ngot two\n', 30_000)
    child.stdin.end('three\n')
    await new Promise((done) => child.once('exit', done))
    expect(heard).toBe('got one\ngot two\ngot three\nbye\n')
  },
)

const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
