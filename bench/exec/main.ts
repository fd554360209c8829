/**
 * What `rclaude exec` costs: from nothing beside `ssh host true`, over a connection that is there beside a bare spawn in the
 * same run, and its bytes beside ssh's. One table; a row that does not reach its number ends with MISS. Linux only.
 */
import { spawn } from 'node:child_process'
import { Agent, request } from 'node:http'
import { resolve } from 'node:path'
import { performance } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { Children } from '../tunnel/children.ts'
import { machineLine } from '../tunnel/machine.ts'
import { HOW_TO_INSTALL } from '../tunnel/peers/ssh.ts'
import { Stage } from '../tunnel/stage.ts'
import { type Case, interleave, median, percentile } from '../tunnel/stats.ts'
import { atLeast, atMost, fixed, missesIn, printTable, type Row, ratio, type Table } from '../tunnel/table.ts'

/** A bench that hangs ends itself. */
const MAX_MINUTES = 10
const COLD_RUNS = 15
const WARM_RUNS = 200
const BYTES_RUNS = 3
const DEFAULT_SIZE = 1_000_000_000
/** From the issue: cold at most half of ssh, warm at most this over the spawn, bytes at least 1.2 times ssh. */
const REACH = { cold: 0.5, warmMs: 5, bytes: 1.2 }

const HELP = `Usage: npm run bench:exec [-- options]

  --size BYTES  of the stdout that is compared (default ${DEFAULT_SIZE})
  --runs N      runs of each cold row (default ${COLD_RUNS}), a dozen times as many of the warm ones
  --json        one JSON document instead of the table
`

interface Options {
  size: number
  runs: number
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      size: { type: 'string' },
      runs: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return void process.stdout.write(HELP)
  const options = {
    size: numberOf('--size', values.size, DEFAULT_SIZE),
    runs: numberOf('--runs', values.runs, COLD_RUNS),
  }
  const stopping = new AbortController()
  const children = new Children()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => stopping.abort(new Error(`stopped by ${signal}`)))
  const tooLong = setTimeout(
    () => stopping.abort(new Error(`not done after ${MAX_MINUTES} minutes`)),
    MAX_MINUTES * 60_000,
  )
  try {
    const table = await measure(children, options, stopping.signal)
    const misses = missesIn([table])
    if (values.json) console.log(JSON.stringify({ machine: machineLine(), misses, table }, undefined, 2))
    else console.log(`${machineLine()}\n\n${printTable(table)}`)
  } finally {
    clearTimeout(tooLong)
    await children.close()
  }
}

async function measure(children: Children, options: Options, signal: AbortSignal): Promise<Table> {
  const log = (line: string): void => void process.stderr.write(`${line}\n`)
  const stageOptions = {
    only: [],
    runs: options.runs,
    size: options.size,
    part: options.size,
    quick: false,
    json: false,
    cpuProf: undefined,
  }
  const stage = new Stage(children, stageOptions, signal, log)
  const [ssh, { gateway, taskId }] = [await stage.ssh(), await stage.plain()]
  const login = { RCLAUDE_GATEWAY: gateway.url, RCLAUDE_TOKEN: gateway.token }
  const rclaude = (...words: string[]) => [process.execPath, resolve('dist/rclaude.js'), 'exec', taskId, '--', ...words]
  const timed = (name: string, argv: string[]): Case<number> => ({ name, run: () => timeOf(argv, login) })

  const cold = await interleave(
    [
      timed('node -e 0', [process.execPath, '-e', '0']),
      timed('exec -- true', rclaude('true')),
      ...(ssh === undefined ? [] : [timed('ssh host true', ssh.command(['true']))]),
    ],
    options.runs,
    signal,
  )
  const keepAlive = new Agent({ keepAlive: true, maxSockets: 1 })
  const warm = await interleave(
    [
      timed('spawn true', ['true']),
      { name: 'POST /exec true', run: () => timePost(keepAlive, gateway, `/v1/tasks/${taskId}/exec`) },
    ],
    Math.round((options.runs * WARM_RUNS) / COLD_RUNS),
    signal,
  )
  keepAlive.destroy()
  const file = stage.file()
  const rate = (name: string, argv: string[]): Case<number> => ({
    name,
    run: async () => options.size / 1_000 / (await timeOf(argv, login, options.size)),
  })
  const bytes = await interleave(
    [
      rate('exec -- cat', rclaude('cat', file)),
      ...(ssh === undefined ? [] : [rate('ssh host cat', ssh.command(['cat', file]))]),
    ],
    Math.min(BYTES_RUNS, options.runs),
    signal,
  )
  return {
    name: 'exec',
    title: `EXEC: ${options.runs} cold and ${warm.get('spawn true')?.length} warm runs in turn, ${options.size / 1e6} MB of stdout`,
    columns: ['row', 'p50 ms', 'p95 ms', 'MB/s', 'beside'],
    rows: [...latencies(cold, 'ssh host true'), ...latencies(warm, 'spawn true'), ...rates(bytes, ssh !== undefined)],
    notes: [
      'cold: the whole command, the start of Node or the handshake of ssh in it; warm: one HTTP connection that stays',
      ...(ssh === undefined ? [HOW_TO_INSTALL] : []),
    ],
  }
}

type Samples = Map<string, number[]>

function latencies(samples: Samples, peer: string): Row[] {
  const peerMs = median(samples.get(peer) ?? [])
  return [...samples].map(([name, times]): Row => {
    const p50 = median(times)
    const reach =
      name === 'exec -- true' && !Number.isNaN(peerMs)
        ? [atMost(p50 / peerMs, REACH.cold, ` x ${peer}`)]
        : name === 'POST /exec true'
          ? [atMost(p50 - peerMs, REACH.warmMs, ` ms over ${peer}`)]
          : []
    return {
      cells: [name, fixed(p50, 1), fixed(percentile(times, 95), 1), undefined, ratio(p50, peerMs)],
      reach,
      values: { p50, p95: percentile(times, 95) },
    }
  })
}

function rates(samples: Samples, hasPeer: boolean): Row[] {
  const peer = median(samples.get('ssh host cat') ?? [])
  return [...samples].map(([name, all]): Row => {
    const mbps = median(all)
    return {
      cells: [name, undefined, undefined, fixed(mbps, 0), ratio(mbps, peer)],
      reach: hasPeer && name === 'exec -- cat' ? [atLeast(mbps / peer, REACH.bytes, ' x ssh host cat')] : [],
      values: { mbps },
    }
  })
}

/** In ms, from the spawn to the end. @throws Error when it fails, or prints another number of bytes */
function timeOf([program = '', ...args]: string[], env: Record<string, string>, bytes = 0): Promise<number> {
  const start = performance.now()
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, HOME: '/nonexistent', ...env },
  })
  let got = 0
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => {
    got += chunk.length
  })
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk
  })
  return new Promise((done, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0 && got === bytes) done(performance.now() - start)
      else reject(new Error(`${program} ${args.join(' ')} exited with ${code} after ${got} bytes: ${said}`))
    })
  })
}

function timePost(agent: Agent, { url, token }: { url: string; token: string }, path: string): Promise<number> {
  const start = performance.now()
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  return new Promise((done, reject) => {
    const call = request(`${url}${path}`, { agent, method: 'POST', headers }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      response.once('error', reject).once('end', () => {
        if (text.includes('"exitCode":0')) done(performance.now() - start)
        else reject(new Error(`POST /exec was answered with ${response.statusCode}: ${text}`))
      })
    })
    call.once('error', reject).end(JSON.stringify({ argv: ['true'] }))
  })
}

function numberOf(name: string, text: string | undefined, fallback: number): number {
  const value = text === undefined ? fallback : Number(text)
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`${name} ${text}: expected a whole number from 1`)
  return value
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`bench:exec: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(1)
  },
)
