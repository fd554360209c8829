/**
 * How long a keystroke takes, alone and while another stream carries all it can. Each way talks to a `cat` at the far end:
 * ours by the attach WebSocket of `rclaude exec -i`, TCP and ssh through a relay. The bulk is the big file, again and again.
 */
import { connect } from 'node:net'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import WebSocket from 'ws'
import { ATTACH_PROTOCOL, CHANNEL } from '../../../protocol/process.ts'
import { HOW_TO_INSTALL } from '../peers/ssh.ts'
import type { Ready, Stage } from '../stage.ts'
import { interleave, median, percentile } from '../stats.ts'
import { atMost, fixed, type Row, ratio, type Table } from '../table.ts'
import type { ReadRequest } from '../workers/reader.ts'
import type { RelayCalls } from '../workers/relay.ts'

const MAX_P99_MS = 10
const IDLE_MS = 1_500
const BULK_MS = 4_000
/** The bulk runs so long before the first keystroke. */
const RAMP_MS = 300
/** Between an echo and the next keystroke. */
const PAUSE_MS = 4
const ECHO_TIMEOUT_MS = 10_000
const KEYS = Buffer.from('0123456789abcdef')
const TCP = 'two TCP connections'

interface Way {
  name: string
  open(): Promise<Echo>
  bulk: ReadRequest
  isOurs: boolean
}

/** An open connection to a `cat`. */
interface Echo {
  send(bytes: Buffer): void
  onBytes(listener: (count: number) => void): void
  close(): void
}

interface Sample {
  idle: number[]
  busy: number[]
  bulkMbps: number
}

export async function echo(stage: Stage): Promise<Table> {
  const notes = ['the bulk competes for the same cores as well: what TCP loses here is the machine, not a queue']
  const ways = await waysOf(stage, notes)
  const short = stage.options.quick ? 0.25 : 1
  const runs = Math.min(3, stage.options.runs)
  const cases = ways.map((way) => ({ name: way.name, run: () => measure(stage, way, short) }))
  const samples = await interleave(cases, runs, stage.signal, { warmUp: false })
  const of = (name: string, pick: (sample: Sample) => number): number => median((samples.get(name) ?? []).map(pick))
  const busyP99 = (name: string): number => of(name, ({ busy }) => percentile(busy, 99))
  return {
    name: 'echo',
    title: `ECHO of 16 bytes through a cat, idle and beside a bulk stream, median of ${runs} runs`,
    columns: ['row', 'idle p50', 'idle p99', 'busy p50', 'busy p99 ms', `/ ${TCP}`, 'bulk MB/s'],
    rows: ways.map(({ name, isOurs }): Row => {
      const p99 = busyP99(name)
      return {
        cells: [
          name,
          fixed(of(name, ({ idle }) => percentile(idle, 50))),
          fixed(of(name, ({ idle }) => percentile(idle, 99))),
          fixed(of(name, ({ busy }) => percentile(busy, 50))),
          fixed(p99),
          ratio(p99, busyP99(TCP)),
          fixed(
            of(name, ({ bulkMbps }) => bulkMbps),
            0,
          ),
        ],
        reach: isOurs ? [atMost(p99, MAX_P99_MS, ' ms p99')] : [],
        values: { busyP99: p99 },
      }
    }),
    notes,
  }
}

async function waysOf(stage: Stage, notes: string[]): Promise<Way[]> {
  const sender = stage.sender()
  const [filePort, catPort] = [
    await sender.call('serveFile', { file: stage.file(), bytes: stage.options.part }),
    await sender.call('serveCat', undefined),
  ]
  const forwarder = stage.children.fork<RelayCalls>('relay')
  const overTcp = (name: string, bulkPort: number, echoPort: number): Way => ({
    name,
    open: () => tcpEcho(echoPort),
    bulk: { port: bulkPort, bytes: stage.options.part, connections: 1 },
    isOurs: false,
  })
  const ways = [
    overTcp(
      TCP,
      await forwarder.call('forward', { port: filePort }),
      await forwarder.call('forward', { port: catPort }),
    ),
  ]
  const ssh = await stage.ssh()
  if (ssh === undefined) notes.push(HOW_TO_INSTALL)
  else {
    const [bulkPort = 0, echoPort = 0] = await ssh.reverse([filePort, catPort])
    ways.push(overTcp('one ssh -R connection', bulkPort, echoPort))
  }
  for (const [name, ready] of [
    ['rclaude over ws', await stage.plain()],
    ['rclaude over wss', await stage.secure()],
  ] as const)
    if (ready !== undefined) ways.push(overTunnel(name, ready, stage.options.part))
  return ways
}

function overTunnel(name: string, { gateway, taskId }: Ready, size: number): Way {
  const request = gateway.requestFor(`/v1/tasks/${taskId}/files/big`, { range: `bytes=0-${size - 1}` })
  const spec = Buffer.from(JSON.stringify({ argv: ['cat'], stdin: true })).toString('base64url')
  const url = `${gateway.url.replace(/^http/, 'ws')}/v1/tasks/${taskId}/processes/attach?spec=${spec}`
  return {
    name,
    open: () => attachedEcho(url, gateway.token),
    bulk: { port: gateway.port, request, bytes: size, connections: 1 },
    isOurs: true,
  }
}

async function measure(stage: Stage, way: Way, short: number): Promise<Sample> {
  const reader = stage.reader()
  const echo = await way.open()
  let isOver = false
  const rates: number[] = []
  const bulk = async (): Promise<void> => {
    while (!isOver) {
      const { ms } = await reader.call('read', way.bulk)
      rates.push(way.bulk.bytes / 1000 / ms)
    }
  }
  try {
    const idle = await echoFor(echo, IDLE_MS * short)
    const reading = bulk()
    await sleep(RAMP_MS)
    rates.length = 0
    const busy = await Promise.race([
      echoFor(echo, BULK_MS * short),
      reading.then(() => Promise.reject(new Error('the bulk ended'))),
    ])
    isOver = true
    await reading
    return { idle, busy, bulkMbps: median(rates) }
  } finally {
    isOver = true
    echo.close()
  }
}

/** Round trips for so long, in ms. */
async function echoFor(echo: Echo, durationMs: number): Promise<number[]> {
  const times: number[] = []
  const until = performance.now() + durationMs
  while (performance.now() < until) {
    const start = performance.now()
    await roundTrip(echo)
    times.push(performance.now() - start)
    await sleep(PAUSE_MS)
  }
  return times
}

function roundTrip(echo: Echo): Promise<void> {
  return new Promise((resolve, reject) => {
    let left = KEYS.length
    const timer = setTimeout(() => reject(new Error(`no echo within ${ECHO_TIMEOUT_MS} ms`)), ECHO_TIMEOUT_MS)
    echo.onBytes((count) => {
      left -= count
      if (left > 0) return
      clearTimeout(timer)
      resolve()
    })
    echo.send(KEYS)
  })
}

async function tcpEcho(port: number): Promise<Echo> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  let listener: (count: number) => void = () => {}
  socket.on('data', (bytes) => listener(bytes.length))
  return {
    send: (bytes) => void socket.write(bytes),
    onBytes(next) {
      listener = next
    },
    close: () => void socket.destroy(),
  }
}

async function attachedEcho(url: string, token: string): Promise<Echo> {
  const headers = { authorization: `Bearer ${token}` }
  const ws = new WebSocket(url, [ATTACH_PROTOCOL], { headers, perMessageDeflate: false })
  let listener: (count: number) => void = () => {}
  ws.on('message', (bytes: Buffer) => {
    if (bytes[0] === CHANNEL.stdout) listener(bytes.length - 1)
  })
  await new Promise((resolve, reject) => ws.once('open', resolve).once('error', reject))
  return {
    send: (bytes) => ws.send(Buffer.concat([Buffer.from([CHANNEL.stdin]), bytes])),
    onBytes(next) {
      listener = next
    },
    close() {
      // Without its input `cat` ends; the task goes on.
      if (ws.readyState === WebSocket.OPEN) ws.send(Buffer.from([CHANNEL.close, CHANNEL.stdin]))
      ws.close()
    },
  }
}
