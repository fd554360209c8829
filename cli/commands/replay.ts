/** `rclaude replay`: a recording of `rclaude shell`, here or in its task, or any other asciicast, on the user's terminal. */
import { createReadStream, createWriteStream, existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Command, InvalidArgumentError } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'
import { act, duration, type Invocation, newCommand } from '../command.ts'
import { write } from '../output.ts'
import { findProcess } from '../process-name.ts'
import { createRecording, readCast } from '../terminals/cast.ts'
import { Pause, play } from '../terminals/play.ts'
import { takeTerminal } from '../terminals/raw.ts'
import { TerminalRestorer } from '../terminals/restore.ts'
import type { World } from '../world.ts'

interface ReplayOptions {
  output?: string
  speed?: number
  idleLimit?: number
}

const KEYS = { pause: ' ', quit: ['q', '\u0003', '\u001b'] }

export function define(world: World): Command {
  return newCommand('replay', 'play a recorded terminal', [
    'rclaude replay work.cast                    space pauses, q quits',
    'rclaude replay --speed 3 --idle-limit 1s work.cast',
    'rclaude replay k3m/proc_2hf7dk3mx9pq        what rclaude shell --recorded left in the task, so far',
    'rclaude replay k3m/proc_2hf7dk3mx9pq --output work.cast',
  ])
    .argument('<recording>', 'an asciicast (rclaude shell --record FILE, asciinema rec FILE), or TASK/proc_...')
    .option('-o, --output <file>', 'of a task: keep it there, instead of playing it')
    .option('--speed <factor>', 'so many times as fast', factor)
    .option('--idle-limit <duration>', 'wait no longer than this between two changes', duration)
    .addHelpText(
      'after',
      '\nA recording is written to your terminal as it is, like the output of the program that was recorded: play none from\nsomebody whose programs you would not look at.',
    )
    .action(act(world, replay))
}

function factor(text: string): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError('Expected a number above 0.')
  return value
}

async function replay(invocation: Invocation, name: string, options: ReplayOptions): Promise<number> {
  const { world } = invocation
  const isInTask = IN_TASK.test(name) && !existsSync(resolve(world.cwd, name))
  if (options.output === undefined)
    return playOn(world, isInTask ? await fetched(invocation, name) : await opened(world, name), name, options)
  if (!isInTask) throw new RclaudeError('invalid', `--output keeps what a task recorded; ${name} is here already`)
  const cast = await fetched(invocation, name)
  await pipeline(cast, createWriteStream('', { fd: createRecording(resolve(world.cwd, options.output)) }))
  return 0
}

/** The ids of processes are written out: anything else is a file. */
const IN_TASK = /^[^/]+\/proc_[a-z0-9]{1,12}$/

async function fetched(invocation: Invocation, name: string): Promise<Readable> {
  const gateway = await invocation.connect()
  const { taskId, process } = await findProcess(gateway, name)
  const response = await gateway.client.raw(routes.getProcess, { params: { taskId, rest: `${process.id}/recording` } })
  return response.body === null ? Readable.from([]) : Readable.fromWeb(response.body as never)
}

async function opened(world: World, name: string): Promise<Readable> {
  const input = createReadStream(resolve(world.cwd, name))
  await new Promise<void>((resolve, reject) => {
    input.once('ready', () => resolve())
    input.once('error', (error) =>
      reject(new RclaudeError('invalid', `cannot read ${name}: ${error.message}`, { cause: error })),
    )
  })
  return input
}

async function playOn(world: World, input: Readable, name: string, options: ReplayOptions): Promise<number> {
  const stop = new AbortController()
  const pause = new Pause()
  const restorer = new TerminalRestorer()
  const giveBack = takeTerminal(world, world.stdin.isTTY === true, () => restorer.toString())
  const onKeys = (bytes: Buffer) => {
    const keys = bytes.toString('latin1')
    if (keys === KEYS.pause) pause.toggle()
    else if (KEYS.quit.includes(keys)) quit()
  }
  const quit = () => {
    stop.abort()
    pause.release()
  }
  if (world.stdin.isTTY === true) world.stdin.on('data', onKeys)
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, quit)
  try {
    await play(readCast(createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY }), name), {
      speed: options.speed ?? 1,
      idleLimitSeconds: options.idleLimit,
      signal: stop.signal,
      pause,
      write: async (text) => {
        restorer.see(Buffer.from(text))
        await write(world.stdout, text)
      },
    })
    return stop.signal.aborted ? 130 : 0
  } finally {
    giveBack()
    world.stdin.off('data', onKeys).pause()
    input.destroy()
  }
}
