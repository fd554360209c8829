/**
 * Loaded into the real gateway with `--import`: measures its event loop and memory from within, and says so over IPC.
 * Nothing else about the gateway is different from production.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { answer, type Call, type Calls } from './serve.ts'

/** How often the delay is looked at, in ms. */
const RESOLUTION_MS = 5

export type ProbeCalls = {
  /** Since the last call, in ms; what a timer is always late by is taken off. */
  eventLoop(request: undefined): { p50: number; p99: number; max: number }
  /** After a garbage collection, where `--expose-gc` was given. Bytes. */
  memory(request: undefined): { rss: number; heap: number; external: number }
  /** User and system time since the start, in ms. */
  cpu(request: undefined): number
}

const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
delay.enable()

const calls: ProbeCalls = {
  eventLoop() {
    const ms = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS)
    const seen = { p50: ms(delay.percentile(50)), p99: ms(delay.percentile(99)), max: ms(delay.max) }
    delay.reset()
    return seen
  },
  memory() {
    globalThis.gc?.()
    globalThis.gc?.()
    const { rss, heapUsed, external } = process.memoryUsage()
    return { rss, heap: heapUsed, external }
  },
  cpu() {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1000
  },
}

process.on('message', (message: Call) => {
  void answer(calls satisfies Calls, message).then((said) => process.connected && process.send?.(said))
})
// The bench is gone, however it ended: so is its gateway.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
process.channel?.unref()
