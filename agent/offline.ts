/**
 * The dead-man's switch: an agent whose gateway is gone for good stops its work and exits, so that no orphan costs money.
 */

export interface OfflineSwitch {
  online(): void
  offline(): void
  setLimit(seconds: number): void
  stop(): void
}

/** A timer for longer than this fires at once (Node keeps 31 bits): longer waits are several timers. */
const MAX_TIMER_MS = 2 ** 31 - 1

/** @param onGone called once, when there was no gateway for as long as the limit says */
export function createOfflineSwitch(
  limitSeconds: number,
  onGone: () => void,
  { maxTimerMs = MAX_TIMER_MS }: { maxTimerMs?: number } = {},
): OfflineSwitch {
  let limit = limitSeconds
  let since: number | undefined = Date.now()
  let timer: NodeJS.Timeout | undefined
  const rearm = () => {
    clearTimeout(timer)
    if (since === undefined) return
    const leftMs = Math.max(0, since + limit * 1000 - Date.now())
    timer = leftMs > maxTimerMs ? setTimeout(rearm, maxTimerMs) : setTimeout(onGone, leftMs)
  }
  rearm()
  return {
    online() {
      since = undefined
      rearm()
    },
    offline() {
      since ??= Date.now()
      rearm()
    },
    setLimit(seconds) {
      limit = seconds
      rearm()
    },
    stop: () => clearTimeout(timer),
  }
}
