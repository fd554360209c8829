/** Runs a plain command: its output becomes `output` events, its exit code the outcome. */
import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { type EventBody, NO_USAGE } from '../../protocol/event.ts'
import type { ProcessExit } from '../../protocol/process.ts'
import { type Child, startChild } from '../processes/child.ts'
import type { Adapter, AdapterResult, AdapterRun, Session } from './adapter.ts'
import { failedSession, startSession } from './session.ts'
import { spawnFailure } from './spawn-failure.ts'

/** The program's bytes that one event carries at most. */
export const MAX_OUTPUT_EVENT_BYTES = 64 * 1024

export const command: Adapter = {
  name: 'command',
  detect: async () => ({ version: 'any', path: '' }), // which program it will be, the task says
  start,
  sessionFiles: async () => [],
}

async function start(run: AdapterRun): Promise<Session> {
  const argv = run.command ?? []
  if (argv.length === 0) throw new TypeError('the command adapter needs a command')
  let child: Child
  try {
    child = await startChild({ argv, cwd: run.cwd, env: run.env, stdin: 'ignore', user: run.user })
  } catch (error) {
    const { reason, message } = await spawnFailure(error, argv[0] ?? '', run.cwd)
    return failedSession(reason, message)
  }
  return startSession({
    child,
    read: () => readOutput(child),
    conclude: ({ exit, stopped }) => conclude(argv, exit, stopped),
  })
}

function conclude(argv: readonly string[], exit: ProcessExit, stopped: boolean): AdapterResult {
  const end = { usage: NO_USAGE, exitCode: exit.code }
  const name = shortened(argv.join(' '))
  if (exit.code === 0) return { outcome: 'succeeded', reason: 'completed', message: `${name} exited with 0`, ...end }
  if (stopped) return { outcome: 'cancelled', reason: 'user', message: `${name} was stopped`, ...end }
  const how = exit.code === null ? `was ended by ${exit.signal}` : `exited with ${exit.code}`
  return { outcome: 'failed', reason: 'exit_code', message: `${name} ${how}`, ...end }
}

const shortened = (text: string) => (text.length > 80 ? `${text.slice(0, 79)}…` : text)

interface Source {
  channel: 'stdout' | 'stderr'
  stream: Readable
  decoder: StringDecoder
}

/** Both channels as they come, in turns, so that a loud one does not silence the other. */
async function* readOutput(child: Child): AsyncGenerator<EventBody> {
  const sources: Source[] = [
    { channel: 'stdout', stream: child.stdout, decoder: new StringDecoder('utf8') },
    { channel: 'stderr', stream: child.stderr, decoder: new StringDecoder('utf8') },
  ]
  let wake = () => {}
  for (const { stream } of sources)
    for (const event of ['readable', 'end', 'close', 'error']) stream.on(event, () => wake())

  let open = sources
  while (open.length > 0) {
    const woken = new Promise<void>((resolve) => {
      wake = resolve // set before the look, so that nothing is missed between the two
    })
    let isIdle = true
    for (const source of open) {
      const bytes: Buffer | null = source.stream.read()
      if (bytes === null) continue
      isIdle = false
      yield* outputEvents(source, bytes)
    }
    open = open.filter(({ stream }) => !stream.readableEnded && !stream.destroyed)
    if (isIdle && open.length > 0) await woken
  }
  for (const { channel, decoder } of sources) {
    const text = decoder.end() // a character that was never completed
    if (text !== '') yield { type: 'output', step: 'agent', channel, text }
  }
}

function* outputEvents({ channel, decoder }: Source, bytes: Buffer): Generator<EventBody> {
  for (let at = 0; at < bytes.length; at += MAX_OUTPUT_EVENT_BYTES) {
    const text = decoder.write(bytes.subarray(at, at + MAX_OUTPUT_EVENT_BYTES))
    if (text !== '') yield { type: 'output', step: 'agent', channel, text }
  }
}
