/**
 * Ctrl-C while a task is watched. On a terminal it asks whether to leave the task running or to stop it; a second Ctrl-C
 * leaves at once. Where nobody can be asked, SIGINT and SIGTERM stop the task, and a second one ends this program.
 */
import { constants } from 'node:os'
import { readKey } from './prompt.ts'
import { canAsk, type World } from './world.ts'

/** Why watching ended before the task did. `byUser`: somebody chose so at the terminal; SIGTERM comes from a program. */
export type Leave = { kind: 'detached'; byUser: boolean } | { kind: 'killed'; exitCode: number }

export interface InterruptOptions {
  /** What a signal means where nobody can be asked. */
  unasked: 'stop' | 'detach'
  stop(): Promise<void>
  leave(how: Leave): void
  /** Takes the live area off the screen, for the question. */
  pause(): void
  resume(): Promise<void>
}

/** @returns removes the handlers */
export function onInterrupt(world: World, options: InterruptOptions): () => void {
  const asks = canAsk(world)
  let signals = 0
  const asking = new AbortController()

  const onSignal = (signal: NodeJS.Signals) => {
    signals++
    if (asks) {
      if (signals > 1 || signal === 'SIGTERM') options.leave({ kind: 'detached', byUser: signal === 'SIGINT' })
      else void ask()
    } else if (options.unasked === 'detach') options.leave({ kind: 'detached', byUser: false })
    else if (signals === 1) void options.stop()
    else options.leave({ kind: 'killed', exitCode: 128 + constants.signals[signal] })
  }

  async function ask(): Promise<void> {
    options.pause()
    world.stderr.write('\nThe task is running. [d]etach and let it go on, [s]top it, [c]ontinue watching? ')
    const key = await readKey(world, ['d', 's', 'c'], asking.signal)
    if (asking.signal.aborted) return
    world.stderr.write(`${key ?? ''}\n`)
    await options.resume()
    signals = 0
    if (key === 's') await options.stop()
    else if (key !== 'c') options.leave({ kind: 'detached', byUser: true })
  }

  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  return () => {
    asking.abort()
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
  }
}
