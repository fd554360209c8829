/** Whether the gateway still answers, and stays small, while somebody attacks it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'

/** One process is attacker and gateway here, on a busy machine: what must not happen is that an answer never comes. */
const QUICK_MS = 2_000
/** What the process may grow by meanwhile, the attacker's own buffers and what is not collected yet included. */
const MAX_GROWTH_BYTES = 256 * 1024 * 1024

/** Asks for the gateway's health again and again; `expectGood()` ends it and judges the slowest answer and the memory. */
export function watchHealth(gateway: { url: string }): { expectGood(): Promise<void> } {
  const before = process.memoryUsage.rss()
  let isOver = false
  let slowestMs = 0
  let grownBytes = 0
  const watching = (async () => {
    do {
      const begun = performance.now()
      const response = await fetch(`${gateway.url}/healthz`, { signal: AbortSignal.timeout(10_000) })
      await response.arrayBuffer()
      expect(response.status).toBe(200)
      slowestMs = Math.max(slowestMs, performance.now() - begun)
      grownBytes = Math.max(grownBytes, process.memoryUsage.rss() - before)
      await sleep(20)
    } while (!isOver)
  })()
  watching.catch(() => {}) // told by expectGood()
  return {
    async expectGood() {
      isOver = true
      await watching
      expect(slowestMs).toBeLessThan(QUICK_MS)
      expect(grownBytes).toBeLessThan(MAX_GROWTH_BYTES)
    },
  }
}
