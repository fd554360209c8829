/** Ends a turn that takes too long, or that says nothing for too long. */
import type { RunSpec } from '../../protocol/run.ts'
import type { Limits } from '../../protocol/task.ts'
import { formatSeconds } from '../../protocol/units.ts'
import type { Stop } from './stop.ts'

export interface Watchdog {
  /** From here on the coding agent must show signs of life. Not before: a fetch or a setup is silent for long. */
  beginIdleWatch(): void
  /** Something happened. */
  sawEvent(): void
  /** The coding agent is done; the time limit goes on. */
  endIdleWatch(): void
  stop(): void
}

/** Said so long before the time limit is reached, where that is less than half of it: nobody can act on less. */
const WARN_SECONDS = 5 * 60

export interface WatchdogOptions {
  limits: Limits
  stop: Stop
  /** What set the limits, for the message. */
  keys?: RunSpec['limitKeys']
  warn(message: string): void
}

export function startWatchdog({ limits, stop, keys = {}, warn }: WatchdogOptions): Watchdog {
  const { timeoutSeconds, idleSeconds } = limits
  const warning =
    timeoutSeconds === undefined || timeoutSeconds <= 2 * WARN_SECONDS
      ? undefined
      : setTimeout(
          () =>
            warn(
              `${formatSeconds(WARN_SECONDS)} left of the time limit of ${formatSeconds(timeoutSeconds)}${named(keys.timeout)}`,
            ),
          (timeoutSeconds - WARN_SECONDS) * 1000,
        )
  const deadline =
    timeoutSeconds === undefined
      ? undefined
      : setTimeout(
          () =>
            stop.because({
              outcome: 'timeout',
              reason: 'max_duration',
              message: `the time limit of ${formatSeconds(timeoutSeconds)} was reached${named(keys.timeout)}`,
            }),
          timeoutSeconds * 1000,
        )
  let idle: NodeJS.Timeout | undefined
  let isWatching = false
  const rearm = () => {
    clearTimeout(idle)
    if (!isWatching || idleSeconds === undefined) return
    idle = setTimeout(
      () =>
        stop.because({
          outcome: 'timeout',
          reason: 'idle',
          message: `nothing happened for ${formatSeconds(idleSeconds)}${named(keys.idle)}`,
        }),
      idleSeconds * 1000,
    )
  }
  return {
    beginIdleWatch() {
      isWatching = true
      rearm()
    },
    sawEvent: rearm,
    endIdleWatch() {
      isWatching = false
      clearTimeout(idle)
    },
    stop() {
      isWatching = false
      clearTimeout(idle)
      clearTimeout(deadline)
      clearTimeout(warning)
    },
  }
}

const named = (key: string | undefined): string => (key === undefined ? '' : ` (${key})`)
