/** `rclaude replay FILE`: a recording of `rclaude shell --record`, or any other asciicast, on the user's terminal. */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { type Command, InvalidArgumentError } from 'commander'
import { RclaudeError } from '../../protocol/errors.ts'
import { act, duration, type Invocation, newCommand } from '../command.ts'
import { write } from '../output.ts'
import { readCast } from '../terminals/cast.ts'
import { Pause, play } from '../terminals/play.ts'
import { takeTerminal } from '../terminals/raw.ts'
import { TerminalRestorer } from '../terminals/restore.ts'
import type { World } from '../world.ts'

interface ReplayOptions {
  speed?: number
  idleLimit?: number
}

const KEYS = { pause: ' ', quit: ['q', '\u0003', '\u001b'] }

export function define(world: World): Command {
  return newCommand('replay', 'play a recorded terminal', [
    'rclaude replay work.cast                    space pauses, q quits',
    'rclaude replay --speed 3 --idle-limit 1s work.cast',
  ])
    .argument('<file>', 'an asciicast: rclaude shell --record FILE, or asciinema rec FILE')
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

async function replay({ world }: Invocation, file: string, options: ReplayOptions): Promise<number> {
  const input = createReadStream(file)
  const opened = new Promise<void>((resolve, reject) => {
    input.once('ready', () => resolve())
    input.once('error', (error) =>
      reject(new RclaudeError('invalid', `cannot read ${file}: ${error.message}`, { cause: error })),
    )
  })
  await opened
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
    await play(readCast(createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY }), file), {
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
