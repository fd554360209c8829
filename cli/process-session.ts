/** One process of a task on this terminal: bytes as they are, signals passed on, its exit code ours. */
import { constants } from 'node:os'
import type { ProcessId } from '../protocol/ids.ts'
import { exitCodeOfProcess, type ProcessExit, type ProcessSpecInput } from '../protocol/process.ts'
import { formatSeconds } from '../protocol/units.ts'
import type { Gateway } from './api.ts'
import { startAttach } from './attach/attach.ts'
import { dialOf } from './attach/dial.ts'
import type { Output } from './output.ts'
import type { World } from './world.ts'

const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
/** So many of them, and we leave although the process has not ended. */
const PATIENCE = 3

export interface SessionOptions {
  taskId: string
  /** To start one; beside a `processId`, what that one was started with. */
  spec?: ProcessSpecInput
  /** To take up one that is there. */
  processId?: ProcessId
  stdin: boolean
}

/** @returns the process's exit code */
export async function processSession(
  world: World,
  gateway: Gateway,
  out: Output,
  options: SessionOptions,
): Promise<number> {
  const connect = await dialOf(world, gateway, options.taskId, options.spec)
  const leaving = new AbortController()
  const attached = startAttach({
    connect,
    ...(options.processId !== undefined && { processId: options.processId }),
    ...(options.stdin && { stdin: world.stdin }),
    stdout: world.stdout,
    stderr: world.stderr,
    signal: leaving.signal,
    onGap: ({ channel, from, to }) =>
      out.note(`rclaude: bytes ${from} to ${to} of ${channel} are lost: a quota was reached`),
    onError: ({ message }) => out.note(`rclaude: ${message}`),
  })
  let signals = 0
  let last: NodeJS.Signals = 'SIGINT'
  const forward = (name: NodeJS.Signals) => {
    last = name
    signals++
    if (signals < PATIENCE) attached.signal(name)
    else leaving.abort()
  }
  for (const name of FORWARDED) process.on(name, forward)
  try {
    const exit = await attached.exit
    const why = endedBy(exit, options.spec?.timeoutSeconds)
    if (why !== undefined) out.note(`rclaude: ${why}`)
    return exitCodeOfProcess(exit, constants.signals)
  } catch (error) {
    if (!leaving.signal.aborted) throw error
    const name = `${options.taskId}/${attached.processId}`
    out.note(`rclaude: left; the process may still run: rclaude attach ${name}, or rclaude kill ${name}`)
    return 128 + constants.signals[last]
  } finally {
    for (const name of FORWARDED) process.off(name, forward)
  }
}

/** Undefined when it ended by itself. */
export function endedBy(exit: ProcessExit, timeoutSeconds?: number): string | undefined {
  if (exit.reason === undefined) return undefined
  const after = timeoutSeconds === undefined ? '' : ` (--timeout ${formatSeconds(timeoutSeconds)})`
  const why = exit.reason === 'timeout' ? `its time was over${after}` : 'it was stopped'
  if (exit.signal === 'SIGKILL') return `${why}; it did not end on SIGINT and SIGTERM, so it was killed (SIGKILL)`
  return exit.signal === null ? `${why}; it ended with exit code ${exit.code}` : `${why} (${exit.signal})`
}
