/**
 * Idle tunnels: what each costs the gateway, from 100 to 10,000 of them. One process runs the agent's dial code that many
 * times against the real gateway, whose store was given as many launches. Each has a stream open, as it always has: the
 * gateway follows the agent's events.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { openFiles } from '../machine.ts'
import { seedLaunches } from '../seed.ts'
import type { Stage } from '../stage.ts'
import { median, percentile } from '../stats.ts'
import { atMost, fixed, type Row, type Table } from '../table.ts'
import type { Gateway, Terminator } from '../world.ts'

const MAX_KILOBYTES = 40
/** Where the number to reach is asked for. */
const JUDGED = [2_000, 10_000]
const COUNTS = [100, 1_000, 2_000, 10_000]
const QUICK_COUNTS = [100, 500]
const SECURE_COUNTS = [2_000, 10_000]
/** Agents that dial at the same moment: a storm is another row. */
const AT_ONCE = 64
/** A gateway that takes longer has missed. */
const DIAL_TIMEOUT_MS = 120_000
/** Each terminator has two connections for a tunnel. */
const TUNNELS_PER_TERMINATOR = 5_000
/** Beside its tunnels a process has so many files open. */
const OTHER_FILES = 200
/** Keepalive pings come every 5 s (tunnel/tunnel.ts). */
const SETTLE_MS = 6_000
const CPU_MS = 5_000
const PINGS = 200

export async function tunnels(stage: Stage): Promise<Table> {
  const notes = [
    'KB is 1,000 bytes of the gateway: its resident set after a garbage collection less that before the first dial, divided by the tunnels',
    'CPU: of one core, while idle; reconcile rounds and keepalive are in it; ping: of the tunnel, agent to gateway and back',
  ]
  const plan = stage.options.quick
    ? QUICK_COUNTS.map((count) => ({ count, isSecure: false }))
    : [
        ...COUNTS.map((count) => ({ count, isSecure: false })),
        ...SECURE_COUNTS.map((count) => ({ count, isSecure: true })),
      ]
  const rows: Row[] = []
  /** So many did not connect in time: more will not. */
  let tooMany = Number.POSITIVE_INFINITY
  for (const { count, isSecure } of plan) {
    stage.signal.throwIfAborted()
    const needed = count + OTHER_FILES
    if (openFiles() < needed)
      notes.push(
        `no row of ${count} tunnels: a process may open ${openFiles()} files, ${needed} are needed (ulimit -n)`,
      )
    else if (isSecure && stage.tls() === undefined) notes.push(`no row of ${count} tunnels over wss: no openssl here`)
    else if (count >= tooMany) rows.push(missed(nameOf(count, isSecure), `not tried: ${tooMany} were too slow already`))
    else {
      const row = await rowOf(stage, count, isSecure)
      rows.push(row)
      if (row.values === undefined) tooMany = count
    }
  }
  return {
    name: 'tunnels',
    title: 'IDLE TUNNELS, one run each',
    columns: [
      'row',
      'KB a tunnel',
      'JS heap',
      'terminator',
      'dial ms each',
      'CPU idle',
      'ping p50',
      'ping p99 ms',
      'loop p99',
      'loop max',
    ],
    rows,
    notes,
  }
}

async function rowOf(stage: Stage, count: number, isSecure: boolean): Promise<Row> {
  const name = nameOf(count, isSecure)
  const gateway = stage.gateway(`tunnels-${count}-${isSecure ? 'wss' : 'ws'}`)
  const launches = seedLaunches(gateway.data, count)
  await gateway.start()
  const terminators = isSecure ? await terminatorsFor(stage, gateway, count) : []
  const agents = await stage.agents(`${count}-${isSecure}`)
  try {
    const { probe } = gateway
    const [before, tlsBefore] = [await probe.call('memory', undefined), await rssOf(terminators)]
    const gatewayUrls = isSecure ? terminators.map(({ port }) => `https://127.0.0.1:${port}`) : [gateway.url]
    const dialled = await agents.worker.call('dial', {
      launches,
      gatewayUrls,
      atOnce: AT_ONCE,
      timeoutMs: DIAL_TIMEOUT_MS,
    })
    if (dialled.online < count)
      return missed(name, `connected in ${DIAL_TIMEOUT_MS / 1000} s: all, not ${dialled.online}`)
    const dialMs = dialled.ms
    await sleep(SETTLE_MS)
    await probe.call('eventLoop', undefined)
    const cpuBefore = await probe.call('cpu', undefined)
    await sleep(CPU_MS)
    const cpu = ((await probe.call('cpu', undefined)) - cpuBefore) / CPU_MS
    const loop = await probe.call('eventLoop', undefined)
    const pings = await agents.worker.call('ping', { sample: PINGS })
    const online = await agents.worker.call('online', undefined)
    if (online < count) throw new Error(`only ${online} of ${count} tunnels were still there`)
    const [after, tlsAfter] = [await probe.call('memory', undefined), await rssOf(terminators)]
    const kilobytes = (after.rss - before.rss) / count / 1000
    return {
      cells: [
        name,
        fixed(kilobytes, 1),
        fixed((after.heap - before.heap) / count / 1000, 1),
        isSecure ? fixed((tlsAfter - tlsBefore) / count / 1000, 1) : undefined,
        fixed(dialMs / count),
        `${fixed(cpu * 100, 1)} %`,
        fixed(median(pings)),
        fixed(percentile(pings, 99)),
        fixed(loop.p99, 0),
        fixed(loop.max, 0),
      ],
      reach: JUDGED.includes(count) ? [atMost(kilobytes, MAX_KILOBYTES, ' KB')] : [],
      values: { kilobytes, cpu, pingP99: percentile(pings, 99), dialMs: dialMs / count },
    }
  } finally {
    await agents.worker.stop()
    await gateway.stop()
    for (const { worker } of terminators) await worker.stop()
  }
}

const nameOf = (count: number, isSecure: boolean): string =>
  `${count.toLocaleString('en')} over ${isSecure ? 'wss' : 'ws'}`

const missed = (name: string, words: string): Row => ({ cells: [name], reach: [{ words, isReached: false }] })

async function terminatorsFor(stage: Stage, gateway: Gateway, count: number): Promise<Terminator[]> {
  const terminators: Terminator[] = []
  while (terminators.length * TUNNELS_PER_TERMINATOR < count) {
    const terminator = await stage.terminator()
    if (terminator === undefined) break
    await terminator.worker.call('forwardTo', { port: gateway.port })
    terminators.push(terminator)
  }
  return terminators
}

async function rssOf(terminators: Terminator[]): Promise<number> {
  const all = await Promise.all(terminators.map(({ worker }) => worker.call('memory', undefined)))
  return all.reduce((sum, { rss }) => sum + rss, 0)
}
