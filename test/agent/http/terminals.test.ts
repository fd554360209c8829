/** Terminals over the attach WebSocket: real programs on real pseudo-terminals, seen through emulators. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { TERMINAL_LIMITS } from '../../../agent/processes/service.ts'
import { ptyBinding } from '../../../agent/terminals/native.ts'
import { newProcessId } from '../../../protocol/ids.ts'
import { ATTACH_PROTOCOL, CHANNEL, type ProcessSpecInput, ServerControl } from '../../../protocol/process.ts'
import { Emulator } from '../../helpers/emulator.ts'
import { isAlive, type Loopback, startLoopback, until } from './loopback.ts'

const SIZE = { columns: 60, rows: 16 }
let open: Loopback | undefined
let sockets: WebSocket[] = []

afterEach(async () => {
  for (const socket of sockets) socket.terminate()
  sockets = []
  const faults = open?.faults
  await open?.close()
  open = undefined
  expect(faults ?? []).toEqual([])
})

/** A client with a terminal. `lazy`: acknowledges nothing until told. */
function look(path: string, { lazy = false, size = SIZE } = {}) {
  const socket = new WebSocket(`${open?.webSocketUrl}${path}`, [ATTACH_PROTOCOL])
  sockets.push(socket)
  const emulator = new Emulator(size)
  const controls: ServerControl[] = []
  const client = {
    socket,
    emulator,
    controls,
    at: 0,
    received: 0,
    screens: 0,
    closed: 0,
    lazy,
    text: '',
    send,
    control,
    ack,
  }
  socket.on('error', () => {})
  socket.on('close', (code) => {
    client.closed = code
  })
  function send(channel: number, bytes: Buffer | string) {
    socket.send(Buffer.concat([Buffer.from([channel]), Buffer.from(bytes)]))
  }
  function control(value: unknown) {
    send(CHANNEL.control, JSON.stringify(value))
  }
  function ack() {
    control({ type: 'ack', stdout: client.at, stderr: 0 })
  }
  socket.on('message', (data: Buffer) => {
    const body = data.subarray(1)
    if (data[0] === CHANNEL.control) {
      const said = ServerControl.parse(JSON.parse(body.toString()))
      controls.push(said)
      if (said.type === 'screen') client.at = said.offset
      return
    }
    emulator.write(body)
    client.received += body.length
    client.text = (client.text + body.toString()).slice(-10_000)
    if (data[0] === CHANNEL.screen) client.screens++
    else client.at += body.length
    if (!client.lazy) ack()
  })
  return client
}

const shown = (client: ReturnType<typeof look>, text: string) =>
  until(`the screen shows ${text}`, () => client.emulator.text().join('\n').includes(text)).catch((error) => {
    throw new Error(`${(error as Error).message}; it shows ${client.emulator.text().join('|')}`)
  })
const startPath = (spec: ProcessSpecInput, id: string, more = '') =>
  `/processes/attach?id=${id}&spec=${Buffer.from(JSON.stringify(spec)).toString('base64url')}${more}`
const sh = (script: string, tty = SIZE): ProcessSpecInput => ({ argv: ['sh', '-c', script], tty })

async function start(spec: ProcessSpecInput, options: Parameters<typeof look>[1] = {}) {
  open ??= await startLoopback()
  const id = newProcessId()
  const client = look(startPath(spec, id), options)
  await until('started', () => client.controls.length > 0)
  return { id, client }
}

function has(program: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' })
    return true
  } catch {
    console.log(`not tried: there is no ${program} on this machine`)
    return false
  }
}

describe('a terminal', () => {
  it('is one: controlling, of its size, with a name, and with an exit code', async () => {
    const { client } = await start(sh('test -t 0 && test -t 1 && test -t 2 && echo $TERM; stty size </dev/tty; exit 7'))
    await until('exit', () => client.controls.at(-1)?.type === 'exit')
    expect(client.emulator.text().slice(0, 2)).toEqual(['xterm-256color', '16 60'])
    expect(client.controls.at(-1)).toMatchObject({ exit: { code: 7, signal: null }, stdout: client.at, stderr: 0 })
  })

  it('tells of a program that is not there before it starts, and of a signal that ended one', async () => {
    open = await startLoopback()
    await expect(
      open.service.start({ argv: ['no-such'], env: {}, stdin: true, detached: false, tty: { ...SIZE, term: 'xterm' } }),
    ).rejects.toThrow('there is no such program')
    const { client } = await start(sh('kill -9 $$'))
    await until('exit', () => client.controls.at(-1)?.type === 'exit')
    expect(client.controls.at(-1)).toMatchObject({ exit: { code: null, signal: 'SIGKILL' } })
  })

  it('says why where the native part cannot be loaded', () => {
    expect(() => ptyBinding('/nowhere/pty.node')).toThrow('Use exec without -t')
  })

  it('turns Ctrl-C into an interrupt, and a new size into SIGWINCH', async () => {
    const { client } = await start(
      sh(`trap 'echo interrupted' INT; trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done`),
    )
    await shown(client, 'ready')
    client.send(CHANNEL.stdin, '\u0003')
    await shown(client, 'interrupted')
    client.control({ type: 'resize', columns: 40, rows: 10 })
    await shown(client, '10 40')
    expect(client.controls).toContainEqual({ type: 'size', columns: 40, rows: 10 })
  })

  it('leaves nothing behind when it is stopped, jobs of its shell and zombies included', async () => {
    const { id, client } = await start(sh('set -m; sleep 1000 & echo job $!; exec sh -i'))
    await shown(client, 'job ')
    const job = Number(/job (\d+)/.exec(client.emulator.text().join('\n'))?.[1])
    const pid = open?.service.get(id).info().pid ?? 0
    await open?.service.stop(id)
    await until('both are gone', async () => !(await isAlive(job)) && !(await isAlive(pid)))
    const parents = readdirSync('/proc').filter((name) => name === String(pid))
    expect(parents).toEqual([])
  })

  it('passes every byte, both ways', async () => {
    const { client } = await start(sh('stty raw -echo; echo ready; head -c 256 | od -An -v -tu1'))
    await shown(client, 'ready')
    client.send(CHANNEL.stdin, Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)))
    await until('exit', () => client.controls.at(-1)?.type === 'exit')
    expect(client.text.match(/\d+/g)?.map(Number).slice(-256)).toEqual(Array.from({ length: 256 }, (_, byte) => byte))
  })

  it('goes on at the exact byte after a cut, with input applied once', async () => {
    open = await startLoopback()
    const id = newProcessId()
    const viewer = '&viewer=laptop-1'
    const first = look(startPath(sh('stty -echo; echo ready; while read line; do echo "got $line"; done'), id, viewer))
    await shown(first, 'ready')
    first.send(CHANNEL.stdin, 'one\n')
    await shown(first, 'got one')
    first.socket.terminate()
    const second = look(`/processes/${id}/attach?stdout=${first.at}&stderr=0${viewer}`)
    await until('started', () => second.controls.length > 0)
    expect(second.controls[0]).toMatchObject({ type: 'started', process: { stdinAccepted: 4 } })
    second.send(CHANNEL.stdin, 'two\n')
    await shown(second, 'got two')
    expect(second.text).toBe('got two\r\n')
  })
})

describe('several viewers', () => {
  it('see the same, and two of them write; one that only reads may not', async () => {
    const { id, client } = await start({ argv: ['cat'], tty: SIZE })
    const other = look(`/processes/${id}/attach?screen=1`)
    const reader = look(`/processes/${id}/attach?screen=1&mode=read`)
    await until('all are there', () => other.screens + reader.screens === 2)
    client.send(CHANNEL.stdin, 'from one\n')
    await shown(reader, 'from one')
    other.send(CHANNEL.stdin, 'from two\n')
    await Promise.all([client, other, reader].map((one) => shown(one, 'from two')))
    reader.send(CHANNEL.stdin, 'x')
    await until('it is refused', () => reader.closed === 1008)
    other.send(CHANNEL.close, Buffer.of(CHANNEL.stdin)) // the end of one's input is nobody else's
    client.send(CHANNEL.stdin, 'still here\n')
    await shown(other, 'still here')
  })

  it('have a terminal of the size of the smallest that writes', async () => {
    const { id, client } = await start(sh(`trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done`))
    await shown(client, 'ready')
    const small = look(`/processes/${id}/attach?screen=1&columns=30&rows=20`)
    await shown(client, '16 30')
    look(`/processes/${id}/attach?screen=1&columns=5&rows=5&mode=read`)
    small.socket.terminate()
    await shown(client, '16 60')
  })

  it('are not held up by the slowest, which is sent the screen instead of what it missed', async () => {
    const { id, client } = await start(sh('read go; seq 200000; echo the end; read go'))
    const slow = look(`/processes/${id}/attach?screen=1`, { lazy: true })
    await until('both are there', () => slow.screens === 1)
    client.send(CHANNEL.stdin, '\n')
    await shown(client, 'the end')
    expect(slow.received).toBeLessThan(100_000)
    slow.lazy = false
    slow.ack()
    await shown(slow, 'the end')
    expect(slow.screens).toBeGreaterThan(1)
    expect(slow.emulator.state()).toEqual(client.emulator.state())
  })

  it('hold the program back when all of them are slow', async () => {
    const { id, client } = await start(sh('seq 300000'), { lazy: true })
    await until('the window is full', () => client.received >= 48 * 1024)
    const end = () => open?.service.get(id).info().stdout.end ?? 0
    await new Promise((resolve) => setTimeout(resolve, 200)) // what must not happen cannot be awaited
    expect(end()).toBeLessThan(48 * 1024 + 64 * 1024)
    client.lazy = false
    client.ack()
    await until('exit', () => client.controls.at(-1)?.type === 'exit')
  })

  it('gone for longer than its time, the terminal is hung up', async () => {
    open = await startLoopback({ terminal: () => ({ ...TERMINAL_LIMITS, idleMs: 100 }) })
    const { id, client } = await start(sh('echo ready; exec sh -i'))
    await shown(client, 'ready')
    client.socket.terminate()
    await until('it has ended', () => open?.service.get(id).exit !== undefined)
    expect(open.service.get(id).exit).toMatchObject({ reason: 'stopped' })
    const late = look(`/processes/${id}/attach?screen=1`)
    await until('exit', () => late.controls.at(-1)?.type === 'exit')
    expect(late.emulator.text().join('\n')).toContain('ready')
  })
})

describe('the screen of somebody who comes later', () => {
  const text = Array.from({ length: 80 }, (_, line) => `line ${line} of the file`).join('\\n')
  it.each([
    [
      'vim',
      'vim',
      `printf '${text}' > f; vim -u NONE -N -c 'set mouse=a number hlsearch' f`,
      ['line 0', '/line 4\r', ':split\r', 'jjjx', 'ihello\u001b'],
    ],
    ['less', 'less', `printf '${text}' > f; less f`, ['line 0', ' ', '/line 3\r', 'j']],
    [
      'tmux',
      'tmux',
      `tmux -f /dev/null -S ./s new 'sh -c "echo in tmux; exec sh"'`,
      ['in tmux', 'echo hello\r', '\u0002%', 'echo right\r'],
    ],
    ['htop', 'htop', 'exec htop -d 600', ['CPU', '\u001b[B', '\u001bOQ']],
  ])('is %s as it is', async (_, program, script, [ready = '', ...typed]) => {
    if (!has(program)) return
    const { id, client } = await start(sh(script))
    await shown(client, ready)
    for (const keys of typed) {
      const before = client.at
      client.send(CHANNEL.stdin, keys)
      await until('it answers', () => client.at > before)
      await quiet(client)
    }
    const late = look(`/processes/${id}/attach?screen=1&columns=60&rows=16`)
    await until('it has the screen', () => late.screens > 0)
    await until('both have come as far', () => late.at === client.at)
    expect(late.emulator.state()).toEqual(client.emulator.state())
    client.send(CHANNEL.stdin, 'j')
    await quiet(client)
    await until('both have come as far again', () => late.at === client.at)
    expect(late.emulator.state()).toEqual(client.emulator.state())
  })

  const claude = 'node_modules/.bin/claude'
  it('is Claude Code as it is', async () => {
    try {
      readFileSync(claude)
    } catch {
      return console.log('not tried: Claude Code is not installed')
    }
    const { id, client } = await start(sh(`CI= ANTHROPIC_API_KEY=none exec ${process.cwd()}/${claude}`))
    await until('it draws', () => client.received > 500, 20_000)
    await quiet(client, 500)
    const late = look(`/processes/${id}/attach?screen=1&columns=60&rows=16`)
    await until('it has the screen', () => late.screens > 0)
    await until('both have come as far', () => late.at === client.at)
    expect(late.emulator.state()).toEqual(client.emulator.state())
    expect(client.emulator.text().join('')).not.toBe('')
  })
})

/** Nothing has come for a while. */
async function quiet(client: ReturnType<typeof look>, ms = 120): Promise<void> {
  for (let before = -1; before !== client.at; ) {
    before = client.at
    await new Promise((resolve) => setTimeout(resolve, ms))
  }
}
