/** A gateway is killed and started again: how soon are all its agents back, and does it stay responsive meanwhile? */
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { seedLaunches } from '../seed.ts'
import type { Stage } from '../stage.ts'
import { median } from '../stats.ts'
import { atMost, fixed, type Reach, type Table } from '../table.ts'

const AGENTS = 2_000
const QUICK_AGENTS = 200
const MAX_BACK_S = 15
const MAX_LOOP_P99_MS = 100
const AT_ONCE = 64
const BACK_TIMEOUT_MS = 60_000
/** How long the gateway is away, besides the time of its start. */
const AWAY_MS = 1_000
/** What the gateway does for each agent after it is connected belongs to the storm. */
const AFTER_MS = 1_000

interface Sample {
  online: number
  backS: number
  sinceKillS: number
  p99: number
  max: number
  cpuMs: number
}

export async function redial(stage: Stage): Promise<Table> {
  const count = stage.options.quick ? QUICK_AGENTS : AGENTS
  const runs = stage.options.quick ? 1 : Math.min(3, stage.options.runs)
  const gateway = stage.gateway('redial')
  const launches = seedLaunches(gateway.data, count)
  await gateway.start()
  const agents = await stage.agents('redial')
  const samples: Sample[] = []
  try {
    await agents.worker.call('dial', {
      launches,
      gatewayUrls: [gateway.url],
      atOnce: AT_ONCE,
      timeoutMs: BACK_TIMEOUT_MS,
    })
    for (let run = 0; run < runs; run++) {
      stage.signal.throwIfAborted()
      await sleep(AFTER_MS)
      const sample = await restart()
      samples.push(sample)
      if (sample.online < count) break // it would take as long again
    }
  } finally {
    await agents.worker.stop()
    await gateway.stop()
  }

  async function restart(): Promise<Sample> {
    const killedAt = performance.now()
    await gateway.kill()
    await sleep(AWAY_MS)
    await gateway.start()
    const listensAt = performance.now()
    await gateway.probe.call('eventLoop', undefined) // loading the program is not the storm
    const { online } = await agents.worker.call('whenOnline', { count, timeoutMs: BACK_TIMEOUT_MS })
    const backAt = performance.now()
    await sleep(AFTER_MS)
    const loop = await gateway.probe.call('eventLoop', undefined)
    const cpuMs = await gateway.probe.call('cpu', undefined)
    return {
      online,
      backS: (backAt - listensAt) / 1000,
      sinceKillS: (backAt - killedAt) / 1000,
      p99: loop.p99,
      max: loop.max,
      cpuMs,
    }
  }

  const of = (pick: (sample: Sample) => number): number => median(samples.map(pick))
  const [backS, p99] = [of((one) => one.backS), of((one) => one.p99)]
  return {
    name: 'redial',
    title: `REDIAL after kill -9 and restart of the gateway, median of ${runs} runs`,
    columns: ['row', 'back', 's until all are back', 's since the kill', 'loop p99 ms', 'loop max', 'gateway CPU s'],
    rows: [
      {
        cells: [
          `${count.toLocaleString('en')} agents over ws`,
          String(of((one) => one.online)),
          fixed(backS, 1),
          fixed(
            of((one) => one.sinceKillS),
            1,
          ),
          fixed(p99, 0),
          fixed(
            of((one) => one.max),
            0,
          ),
          fixed(of((one) => one.cpuMs) / 1000, 1),
        ],
        reach: [
          allBack(
            of((one) => one.online),
            count,
            backS,
          ),
          atMost(p99, MAX_LOOP_P99_MS, ' ms p99'),
        ],
        values: { backS, p99 },
      },
    ],
    notes: [
      'one process dials for all agents and competes for the same cores; the agents wait up to 10 s between attempts',
    ],
  }
}

const allBack = (online: number, count: number, seconds: number): Reach => ({
  words: `all <= ${MAX_BACK_S} s`,
  isReached: online >= count && seconds <= MAX_BACK_S,
})
