/** `rclaude shell`, `exec -t` and `replay` as a user has them: the built CLI on a pseudo-terminal, gateway, agent. */
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { startPty } from '../../agent/terminals/pty.ts'
import { Emulator } from '../helpers/emulator.ts'
import { eventually } from '../helpers/eventually.ts'
import { stopTasksAfterwards } from '../helpers/stop-tasks.ts'
import { startWorld, type World } from '../helpers/world.ts'

const SIZE = { columns: 70, rows: 20 }

/** `rclaude` on a terminal of its own. */
async function onTerminal(world: World, ...args: string[]) {
  const emulator = new Emulator(SIZE)
  const child = await startPty({
    argv: [process.execPath, resolve('dist/rclaude.js'), ...args],
    cwd: world.directory,
    env: { ...world.userEnvironment(), ...world.asAdmin, TERM: 'xterm-256color' },
    size: SIZE,
  })
  child.stdout.on('data', (bytes: Buffer) => emulator.write(bytes))
  onTestFinished(() => void child.stop({ graceMs: 500 }))
  const screen = () => emulator.text().join('\n')
  const shows = (text: string) =>
    eventually(
      `the terminal shows ${text}`,
      () => screen().includes(text) || screen().replaceAll('\n', '').includes(text),
    ).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}; it shows\n${screen()}`)
    })
  let exit: unknown
  void child.exited.then((how) => {
    exit = how
  })
  const ends = async (code: number) => {
    await eventually('rclaude ends', () => exit !== undefined).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}; it shows\n${screen()}`)
    })
    expect(exit).toEqual({ code, signal: null })
  }
  return { child, emulator, screen, shows, ends, type: (text: string) => child.stdin.write(text) }
}

async function idleTask(world: World): Promise<string> {
  stopTasksAfterwards(world)
  const task = await world.createTask({ agent: 'command', command: ['sleep', '1000'], workspace: { kind: 'none' } })
  await world.state(task.id, 'running')
  return task.id
}

test('shell is a login shell in the workspace; it detaches, is named to the next, and is taken up with its screen', async () => {
  const world = await startWorld()
  const id = await idleTask(world)
  const shell = await onTerminal(world, 'shell', id)
  shell.type('echo "marker-$((6 * 7))"; stty size\r')
  await shell.shows('marker-42')
  await shell.shows('20 70')
  shell.type("printf '\\033[?1049h\\033[?1002h\\033[?25lon the second screen'; read x\r")
  await shell.shows('on the second screen')
  await eventually('mouse reports are on', () => shell.emulator.terminal.modes.mouseTrackingMode === 'drag')
  shell.type('\r~d')
  await shell.ends(0)
  await shell.shows('rclaude attach')
  const left = shell.emulator.state()
  expect([left.screen, left.modes.mouseTrackingMode, left.cursor.hidden]).toEqual(['normal', 'none', false])
  const processId = /proc_\w+/.exec(shell.screen().replaceAll('\n', ''))?.[0] ?? ''

  const next = await onTerminal(world, 'shell', id)
  await next.shows('that nobody looks at')
  next.type('echo in the "next"\r')
  await next.shows('in the next')
  next.type('exit 3\r')
  await next.ends(3)

  const again = await onTerminal(world, 'attach', `${id}/${processId}`)
  await again.shows('on the second screen')
  expect(again.emulator.terminal.modes.mouseTrackingMode).toBe('drag')
  again.type("printf '\\033[?1049l'; exit 5\r")
  await again.ends(5)
  expect(again.emulator.state().cursor.hidden).toBe(false)
})

test('exec -it passes on code and size; without a terminal it is refused as docker does', async () => {
  const world = await startWorld()
  const id = await idleTask(world)
  const exec = await onTerminal(world, 'exec', '-it', id, '--', 'sh', '-c', 'read x; echo "got $x"; exit 9')
  exec.type('hello\r')
  expect(await exec.child.exited).toEqual({ code: 9, signal: null })
  await exec.shows('got hello')
  const refused = await world.cli(['exec', '-it', id, '--', 'true'], { env: world.asAdmin })
  expect(refused.stderr).toContain('the input device is not a TTY')
  expect(refused.code).toBe(2)
  const seen = await world.cli(['exec', '-t', id, '--', 'tty'], { env: world.asAdmin })
  expect(seen.stdout).toContain('/dev/pts/')
})

test('the terminal is given back when rclaude is told to end, and the gateway being killed is survived', async () => {
  const world = await startWorld()
  const id = await idleTask(world)
  const shell = await onTerminal(world, 'shell', id, '--', 'sh', '-c', "printf '\\033[?2004h\\033[?1000hready '; cat")
  await shell.shows('ready')
  await world.killGateway()
  await world.startGateway()
  shell.type('after\r')
  await shell.shows('after')
  process.kill(shell.child.pid, 'SIGTERM')
  expect(await shell.child.exited).toEqual({ code: 143, signal: null })
  const { modes } = shell.emulator.state()
  expect([modes.bracketedPasteMode, modes.mouseTrackingMode]).toEqual([false, 'none'])
})

test('what is recorded is played again', async () => {
  const world = await startWorld()
  const id = await idleTask(world)
  const cast = join(world.directory, 'work.cast')
  const shell = await onTerminal(
    world,
    'shell',
    '--record',
    cast,
    id,
    '--',
    'sh',
    '-c',
    'echo recorded ünïcode; exit 4',
  )
  expect((await shell.child.exited).code).toBe(4)
  const [header = '', ...entries] = readFileSync(cast, 'utf8').trim().split('\n')
  expect(JSON.parse(header)).toMatchObject({ version: 2, width: 70, height: 20 })
  expect(entries.map((line) => (JSON.parse(line) as [number, string, string])[2]).join('')).toContain(
    'recorded ünïcode',
  )
  expect(statSync(cast).mode & 0o777).toBe(0o600)
  expect((await world.cli(['replay', cast])).stdout).toContain('recorded ünïcode')
  expect((await world.cli(['shell', '--record', cast, id], { env: world.asAdmin })).code).not.toBe(0)

  writeFileSync(cast, '{"version":2,"width":70,"height":20}\n[0,"o","first"]\n[3600,"o","never"]\n')
  const replay = await onTerminal(world, 'replay', cast)
  await replay.shows('first')
  replay.type('q')
  expect((await replay.child.exited).code).toBe(130)
  writeFileSync(cast, '{"version":2}\nnonsense\n')
  expect((await world.cli(['replay', cast])).stderr).toContain('line 2')
})

test('what the task recorded after the viewer had left is played, or kept, as long as the task runs', async () => {
  const world = await startWorld()
  const id = await idleTask(world)
  const go = join(world.directory, 'go')
  const script = `echo seen; until test -e ${go}; do sleep 0.1; done; echo unseen`
  const shell = await onTerminal(world, 'shell', '--recorded', id, '--', 'sh', '-c', script)
  await shell.shows('seen')
  shell.type('~.')
  await shell.ends(129)
  const [, name = ''] = /rclaude replay (\S+\/proc_[a-z0-9]{12})/.exec(shell.screen().replaceAll('\n', '')) ?? []
  writeFileSync(go, '')
  const replay = () => world.cli(['replay', '--speed', '100', name], { env: world.asAdmin })
  await eventually('all of it is recorded', async () => (await replay()).stdout === 'seen\r\nunseen\r\n')
  const keep = () => world.cli(['replay', name, '--output', 'kept.cast'], { env: world.asAdmin })
  expect(await keep()).toMatchObject({ code: 0, stdout: '' })
  const kept = join(world.directory, 'kept.cast')
  expect(statSync(kept).mode & 0o777).toBe(0o600)
  expect((await world.cli(['replay', '--speed', '100', 'kept.cast'])).stdout).toBe('seen\r\nunseen\r\n')
  expect((await keep()).stderr).toContain('is there already')
  expect((await world.cli(['replay', 'kept.cast', '--output', 'x'])).code).toBe(2)
  const plain = await world.cli(['exec', '--detach', id, '--', 'true'], { env: world.asAdmin })
  const none = await world.cli(['replay', `${id}/${plain.stdout.trim()}`], { env: world.asAdmin })
  expect(none.stderr).toContain('is not recorded')
}, 60_000)

test('one terminal more than the gateway allows is refused by the name of the limit, and a closed one makes room', async () => {
  const world = await startWorld({ settings: { RCLAUDE_LIMITS__TERMINALS: '1' } })
  const id = await idleTask(world)
  const first = await onTerminal(world, 'shell', id, '--', 'sh', '-c', 'echo ready; read x')
  await first.shows('ready')
  const second = await world.cli(['exec', '-t', id, '--', 'true'], { env: world.asAdmin })
  expect(second.stderr).toContain('1 terminals are open already, which is the limit of 1 (limits.terminals)')
  expect(second.code).not.toBe(0)
  first.type('\r')
  await first.ends(0)
  expect((await world.cli(['exec', '-t', id, '--', 'true'], { env: world.asAdmin })).code).toBe(0)
})
