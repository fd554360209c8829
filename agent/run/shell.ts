/** Runs the user's own `setup` and `check` commands: a shell, its output as events, its exit code. */

import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import type { EventBody } from '../../protocol/event.ts'
import type { ProcessExit } from '../../protocol/process.ts'
import { startChild, type WorkUser } from '../processes/child.ts'

/** Longest text of one output event. */
export const MAX_OUTPUT_TEXT = 64 * 1024

export interface ShellRun {
  step: 'setup' | 'check'
  command: string
  cwd: string
  env: Record<string, string>
  user: WorkUser | undefined
  signal: AbortSignal
  /** Takes events; resolves when it can take more. */
  emit(event: EventBody): Promise<void>
}

export async function runShell(run: ShellRun): Promise<ProcessExit> {
  const child = await startChild({
    argv: ['/bin/sh', '-c', run.command],
    cwd: run.cwd,
    env: run.env,
    stdin: 'ignore',
    user: run.user,
  })
  const stop = () => void child.stop()
  if (run.signal.aborted) stop()
  else run.signal.addEventListener('abort', stop, { once: true })
  const output = Promise.all([relay(run, child.stdout, 'stdout'), relay(run, child.stderr, 'stderr')])
  try {
    const exit = await child.exited
    // A daemon that it left behind may hold the pipes open for ever: it goes first.
    if (run.signal.aborted) await child.stop()
    else await child.sweep()
    await output
    return exit
  } finally {
    run.signal.removeEventListener('abort', stop)
  }
}

async function relay(run: ShellRun, stream: Readable, channel: 'stdout' | 'stderr'): Promise<void> {
  const decoder = new StringDecoder('utf8')
  const emit = async (text: string) => {
    for (let at = 0; at < text.length; at += MAX_OUTPUT_TEXT)
      await run.emit({ type: 'output', step: run.step, channel, text: text.slice(at, at + MAX_OUTPUT_TEXT) })
  }
  for await (const chunk of stream as AsyncIterable<Buffer>) await emit(decoder.write(chunk))
  await emit(decoder.end())
}
