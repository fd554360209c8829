/** Whether the gateway still answers while somebody attacks it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'

/** One process is attacker and gateway here, on a busy machine: what must not happen is that an answer never comes. */
export const QUICK_MS = 2_000

/** Asks for the gateway's health again and again; `worst()` ends it and says how long the slowest answer took. */
export function watchHealth(gateway: { url: string }): { worst(): Promise<number> } {
  let isOver = false
  let worstMs = 0
  const watching = (async () => {
    do {
      const begun = performance.now()
      const response = await fetch(`${gateway.url}/healthz`, { signal: AbortSignal.timeout(10_000) })
      await response.arrayBuffer()
      expect(response.status).toBe(200)
      worstMs = Math.max(worstMs, performance.now() - begun)
      await sleep(20)
    } while (!isOver)
  })()
  watching.catch(() => {}) // told by worst()
  return {
    async worst() {
      isOver = true
      await watching
      return worstMs
    },
  }
}
