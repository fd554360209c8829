/** Bytes agent -> gateway -> client on one stream, beside everything that carries bytes the same way. */

import type { PeerName } from '../peers/peers.ts'
import { HOW_TO_INSTALL } from '../peers/ssh.ts'
import type { Ready, Stage } from '../stage.ts'
import { interleave, median } from '../stats.ts'
import { atLeast, fixed, type Reach, type Row, ratio, type Table } from '../table.ts'
import type { ReadRequest } from '../workers/reader.ts'
import type { RelayCalls } from '../workers/relay.ts'

const SSH = 'ssh -R'
const WS = 'ws relay'
const WSS = 'ws relay over wss'
/** Slow multiplexers get a part of the file: the rate is what counts. */
const SLOW_BYTES = 3_000_000

interface Source {
  name: string
  request: ReadRequest
  reach?: (mbps: (name: string) => number) => Reach[]
}

export async function throughput(stage: Stage): Promise<Table> {
  const notes: string[] = [
    'MB is 10^6 bytes; every row is read by the same process over TCP, and its file read as the agent reads it',
    'wss: TLS between agent and gateway (or sender and relay) ends in one small Node process in front, for gateway and relays alike',
  ]
  const sources = await sourcesOf(stage, notes)
  const reader = stage.reader()
  const cases = sources.map(({ name, request }) => ({
    name,
    run: async () => request.bytes / 1000 / (await reader.call('read', request)).ms,
  }))
  const samples = await interleave(cases, stage.options.runs, stage.signal)
  const mbps = (name: string): number => median(samples.get(name) ?? [])
  return {
    name: 'bytes',
    title: `BYTES agent -> gateway -> client, one stream, ${stage.options.part / 1e6} MB, median of ${stage.options.runs} runs`,
    columns: ['row', 'MB/s', 'min', 'max', `/ ${SSH}`, `/ ${WS}`, `/ ${WSS}`],
    rows: sources.map(({ name, reach }): Row => {
      const all = samples.get(name) ?? []
      const rate = mbps(name)
      return {
        cells: [
          name,
          fixed(rate, 0),
          fixed(Math.min(...all), 0),
          fixed(Math.max(...all), 0),
          ...[SSH, WS, WSS].map((base) => ratio(rate, mbps(base))),
        ],
        reach: reach?.(mbps) ?? [],
        values: { mbps: rate },
      }
    }),
    notes,
  }
}

async function sourcesOf(stage: Stage, notes: string[]): Promise<Source[]> {
  const { part: size } = stage.options
  const whole = (port: number): ReadRequest => ({ port, bytes: size, connections: 1 })
  const filePort = await stage.sender().call('serveFile', { file: stage.file(), bytes: size })
  const forwarder = stage.children.fork<RelayCalls>('relay')
  const sources: Source[] = [
    { name: 'raw TCP, no relay', request: whole(filePort) },
    { name: 'raw TCP through a relay', request: whole(await forwarder.call('forward', { port: filePort })) },
    { name: WS, request: whole(await relayed(stage, 'ws', false, size)) },
  ]
  if (stage.tls() !== undefined) sources.push({ name: WSS, request: whole(await relayed(stage, 'ws', true, size)) })
  else notes.push('no openssl here: no rows over wss')

  const ssh = await stage.ssh()
  if (ssh === undefined) notes.push(HOW_TO_INSTALL)
  else
    for (const [name, cipher] of [
      [SSH, undefined],
      [`${SSH} -c aes128-gcm`, 'aes128-gcm@openssh.com'],
    ] as const) {
      const [port = 0] = await ssh.reverse([filePort], cipher)
      sources.push({ name, request: whole(port) })
    }

  for (const [name, peer, bytes] of [
    ['yamux-js', 'yamux-js', Math.min(size, SLOW_BYTES)],
    ['@libp2p/yamux', 'libp2p', size],
    ['our tunnel/, same relay', 'tunnel', size],
  ] as const)
    try {
      sources.push({ name, request: { ...whole(await relayed(stage, peer, false, bytes)), bytes } })
    } catch (error) {
      notes.push(`${name} is not here: ${error instanceof Error ? error.message : error}`)
    }

  sources.push(ours('rclaude over ws', await stage.plain(), WS, size))
  const secure = await stage.secure()
  if (secure !== undefined) sources.push(ours('rclaude over wss', secure, WSS, size))
  return sources
}

function ours(name: string, { gateway, taskId }: Ready, relay: string, size: number): Source {
  const request = gateway.requestFor(`/v1/tasks/${taskId}/files/big`, { range: `bytes=0-${size - 1}` })
  return {
    name,
    request: { port: gateway.port, request, bytes: size, connections: 1 },
    reach: (mbps) =>
      [
        { base: SSH, least: 1.2 },
        { base: relay, least: 0.6 },
      ]
        .filter(({ base }) => !Number.isNaN(mbps(base)))
        .map(({ base, least }) => atLeast(mbps(name) / mbps(base), least, ` x ${base}`)),
  }
}

/** A relay of its own with the sender dialled in, which sends so many bytes to each client. @returns the port for clients */
async function relayed(stage: Stage, peer: PeerName, isSecure: boolean, bytes: number): Promise<number> {
  const relay = stage.children.fork<RelayCalls>('relay')
  const { tunnelPort, clientPort } = await relay.call('relay', { peer })
  const terminator = isSecure ? await stage.terminator() : undefined
  await terminator?.worker.call('forwardTo', { port: tunnelPort })
  const url = terminator === undefined ? `ws://127.0.0.1:${tunnelPort}` : `wss://127.0.0.1:${terminator.port}`
  await stage.sender().call('dial', { peer, url, file: stage.file(), bytes })
  return clientPort
}
