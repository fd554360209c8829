/**
 * A process's terminal on the user's own: raw, both ways, with the size of the user's. A lost connection is dialled again; a
 * long loss is told, and then the screen is drawn anew.
 */
import { randomBytes } from 'node:crypto'
import { constants } from 'node:os'
import { Writable } from 'node:stream'
import type { ProcessId } from '../../protocol/ids.ts'
import {
  exitCodeOfProcess,
  type ProcessInfo,
  type ProcessSpecInput,
  type TerminalSize,
  type ViewerMode,
} from '../../protocol/process.ts'
import type { Gateway } from '../api.ts'
import { startAttach } from '../attach/attach.ts'
import { dialOf } from '../attach/dial.ts'
import type { Output } from '../output.ts'
import { variable, type World } from '../world.ts'
import type { Recorder } from './cast.ts'
import { type EscapeCommand, EscapeFilter, escapeHelp } from './escape.ts'
import { takeTerminal } from './raw.ts'
import { TerminalRestorer } from './restore.ts'

/** Tries before the user is told that the connection is lost. */
const QUIET_TRIES = 4
/** So many signals, and we leave although the process has not ended. */
const PATIENCE = 3
const ENDING = ['SIGTERM', 'SIGHUP', 'SIGINT'] as const

export interface TerminalSessionOptions {
  taskId: string
  spec?: ProcessSpecInput
  processId?: ProcessId
  mode: ViewerMode
  /** What is typed goes there. */
  interactive: boolean
  /** Undefined: every key is the program's. */
  escapeKey?: string | undefined
  recorder?: Recorder | undefined
}

export function sizeOf({ stdout }: Pick<World, 'stdout'>): TerminalSize {
  const within = (cells: number | undefined, usual: number) => Math.min(1_000, Math.max(1, cells || usual))
  return { columns: within(stdout.columns, 80), rows: within(stdout.rows, 24) }
}

/** What a process's terminal should be like, for a spec. */
export function terminalSpec(world: World): NonNullable<ProcessSpecInput['tty']> {
  const colorTerm = variable(world, 'COLORTERM')
  const lang = variable(world, 'LC_ALL') ?? variable(world, 'LANG')
  return {
    ...sizeOf(world),
    term: (variable(world, 'TERM') ?? 'xterm-256color').slice(0, 100),
    ...(colorTerm !== undefined && { colorTerm: colorTerm.slice(0, 100) }),
    ...(lang !== undefined && { lang: lang.slice(0, 100) }),
  }
}

/** @returns the process's exit code; 0 when the user detached, 129 when the user left as a lost line would */
export async function terminalSession(
  world: World,
  gateway: Gateway,
  out: Output,
  options: TerminalSessionOptions,
): Promise<number> {
  const connect = await dialOf(world, gateway, options.taskId, options.spec)
  const leaving = new AbortController()
  let leftWith = 129
  const leave = (exitCode: number) => {
    leftWith = exitCode
    leaving.abort()
  }
  const restorer = new TerminalRestorer()
  const note = (text: string) => world.stderr.write(`\r\n${text}\r\n`)
  const typed = typedInput(world, options, (command) => {
    if (command === 'help') note(escapeHelp(options.escapeKey ?? ''))
    else leave(command === 'detach' ? 0 : 129)
  })
  const viewer = randomBytes(9).toString('base64url')
  let drawAnew = options.processId !== undefined
  let started: ProcessInfo | undefined

  const giveBack = takeTerminal(world, options.interactive, () => restorer.toString())
  const attached = startAttach({
    connect,
    terminal: () => ({ mode: options.mode, viewer, screen: drawAnew, size: sizeOf(world) }),
    ...(options.processId !== undefined && { processId: options.processId }),
    ...(typed !== undefined && options.mode === 'write' && { stdin: typed }),
    stdout: shown(world, restorer, options.recorder),
    stderr: world.stderr,
    signal: leaving.signal,
    onStarted: (process) => {
      started = process
    },
    onSize: (size) => {
      drawAnew = false
      options.recorder?.resize(size)
    },
    onReconnect: ({ attempt }) => {
      if (attempt !== QUIET_TRIES) return
      drawAnew = true
      note(
        `rclaude: the connection is lost; trying again${options.escapeKey === undefined ? '' : `, ${options.escapeKey}. leaves`}`,
      )
    },
    onError: ({ message }) => note(`rclaude: ${message}`),
  })
  const onResize = () => attached.resize(sizeOf(world))
  let signals = 0
  // Raw, Ctrl-C is a byte; without that it is a signal, and the process's.
  const onSignal = (name: NodeJS.Signals) => {
    if (options.interactive || ++signals >= PATIENCE) leave(128 + constants.signals[name])
    else attached.signal(name)
  }
  world.stdout.on('resize', onResize)
  for (const name of ENDING) process.on(name, onSignal)
  try {
    return exitCodeOfProcess(await attached.exit, constants.signals)
  } catch (error) {
    if (!leaving.signal.aborted) throw error
    giveBack()
    const goesOn =
      started?.tty?.idleSeconds === undefined ? '' : ` for ${minutes(started.tty.idleSeconds)} (limits.terminalIdle)`
    out.note(`\nrclaude: left; the process goes on${goesOn}: rclaude attach ${options.taskId}/${attached.processId}`)
    return leftWith
  } finally {
    giveBack()
    if (started?.tty?.recordedBytes !== undefined)
      out.note(`rclaude: the task has recorded it: rclaude replay ${options.taskId}/${started.id}`)
    else if (options.spec?.tty?.record)
      out.note('rclaude: the task has recorded nothing: its agent is older, or its disk full')
    world.stdout.off('resize', onResize)
    for (const name of ENDING) process.off(name, onSignal)
    if (typed !== undefined) world.stdin.unpipe(typed).pause()
    options.recorder?.close()
  }
}

const minutes = (seconds: number): string => (seconds < 60 ? `${seconds} s` : `${Math.round(seconds / 60)} min`)

function typedInput(
  world: World,
  { interactive, mode, escapeKey }: TerminalSessionOptions,
  onCommand: (command: EscapeCommand) => void,
): EscapeFilter | undefined {
  if (!interactive) return undefined
  const filter = new EscapeFilter(escapeKey, onCommand)
  world.stdin.pipe(filter, { end: world.stdin.isTTY !== true })
  if (mode === 'read') filter.resume() // our own keys work, the rest goes nowhere
  return filter
}

/** The user's terminal, watched and recorded. Its back-pressure is ours. */
function shown(world: World, restorer: TerminalRestorer, recorder: Recorder | undefined): Writable {
  return new Writable({
    highWaterMark: 16 * 1024,
    write(chunk: Buffer, _encoding, done) {
      try {
        restorer.see(chunk)
        recorder?.output(chunk)
      } catch (error) {
        return done(error as Error) // the recording cannot be written: told, and the process goes on
      }
      world.stdout.write(chunk, (error) => done(error))
    },
  })
}
