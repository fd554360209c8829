/**
 * A small request through gateway and tunnel, and the same one direct to the agent's port: the same agent process, the
 * same server, the same file; only the way differs. Both clients keep their connection, and take turns.
 */
import { Agent, request } from 'node:http'
import { performance } from 'node:perf_hooks'
import type { Stage } from '../stage.ts'
import { median, percentile } from '../stats.ts'
import { atMost, fixed, type Row, type Table } from '../table.ts'

const MAX_ADDED_P50_MS = 0.5
const MAX_ADDED_P99_MS = 3
const PAIRS = 2_000
const QUICK_PAIRS = 500
const WARM_UP = 200

interface Way {
  port: number
  path: string
  headers: Record<string, string>
}

interface Run {
  direct: number[]
  tunnel: number[]
}

export async function smallRequest(stage: Stage): Promise<Table> {
  const { gateway, taskId, port } = await stage.api()
  const headers = { authorization: `Bearer ${gateway.token}` }
  const pairs = stage.options.quick ? QUICK_PAIRS : PAIRS
  const rows: Row[] = []
  for (const [name, path] of [
    ['GET files/small (100 bytes)', '/files/small'],
    ['GET processes (JSON)', '/processes'],
  ] as const) {
    const direct = { port, path, headers: {} }
    const tunnel = { port: gateway.port, path: `/v1/tasks/${taskId}${path}`, headers }
    rows.push(...rowsOf(name, await measure(stage, direct, tunnel, pairs)))
  }
  return {
    name: 'request',
    title: `SMALL REQUEST, ${pairs} one after another, median of ${stage.options.runs} runs`,
    columns: ['row', 'p50 ms', 'p99 ms', 'added p50', 'added p99'],
    rows,
    notes: [
      'direct: TCP to the same agent process; through the gateway: authorised and audited, one fresh stream a request',
    ],
  }
}

async function measure(stage: Stage, direct: Way, tunnel: Way, pairs: number): Promise<Run[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const runs: Run[] = []
  try {
    for (let n = 0; n < WARM_UP; n++) for (const way of [direct, tunnel]) await timeOf(agent, way)
    for (let round = 0; round < stage.options.runs; round++) {
      stage.signal.throwIfAborted()
      const run: Run = { direct: [], tunnel: [] }
      for (let n = 0; n < pairs; n++) {
        run.direct.push(await timeOf(agent, direct))
        run.tunnel.push(await timeOf(agent, tunnel))
      }
      runs.push(run)
    }
  } finally {
    agent.destroy()
  }
  return runs
}

function rowsOf(name: string, runs: Run[]): Row[] {
  const of = (way: keyof Run, percent: number): number => median(runs.map((run) => percentile(run[way], percent)))
  const [d50, d99, t50, t99] = [of('direct', 50), of('direct', 99), of('tunnel', 50), of('tunnel', 99)]
  const reach = [atMost(t50 - d50, MAX_ADDED_P50_MS, ' ms p50'), atMost(t99 - d99, MAX_ADDED_P99_MS, ' ms p99')]
  return [
    { cells: [`${name}, direct`, fixed(d50), fixed(d99), undefined, undefined], values: { p50: d50, p99: d99 } },
    {
      cells: [`${name}, tunnel`, fixed(t50), fixed(t99), `+ ${fixed(t50 - d50)}`, `+ ${fixed(t99 - d99)}`],
      reach,
      values: { p50: t50, p99: t99 },
    },
  ]
}

function timeOf(agent: Agent, { port, path, headers }: Way): Promise<number> {
  const start = performance.now()
  return new Promise((resolve, reject) => {
    const call = request({ agent, port, path, headers, host: '127.0.0.1' }, (response) => {
      response.resume()
      response.once('error', reject)
      response.once('end', () => {
        if (response.statusCode === 200) resolve(performance.now() - start)
        else reject(new Error(`GET ${path} was answered with ${response.statusCode}`))
      })
    })
    call.once('error', reject)
    call.end()
  })
}
