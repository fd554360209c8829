/** The same bytes on 1, 10 and 100 streams of one tunnel: neither rate nor cost may change with their number. */

import type { Stage } from '../stage.ts'
import { interleave, median } from '../stats.ts'
import { fixed, type Row, ratio, type Table } from '../table.ts'
import type { ReadRequest } from '../workers/reader.ts'
import type { RelayCalls } from '../workers/relay.ts'

const STREAMS = [1, 10, 100] as const

interface Sample {
  mbps: number
  /** Of the gateway, in ms for a MB. */
  cpuPerMb: number
}

export async function streams(stage: Stage): Promise<Table> {
  const { part: size, runs } = stage.options
  const { gateway, taskId } = await stage.plain()
  const forwarder = stage.children.fork<RelayCalls>('relay')
  const reader = stage.reader()
  const path = `/v1/tasks/${taskId}/files/big`
  const request = (count: number): string =>
    gateway.requestFor(path, { range: `bytes=0-${Math.floor(size / count) - 1}` })

  async function run(count: number, way: Pick<ReadRequest, 'port' | 'request'>): Promise<Sample> {
    const bytes = Math.floor(size / count)
    const before = await gateway.probe.call('cpu', undefined)
    const { ms } = await reader.call('read', { ...way, bytes, connections: count })
    const cpu = (await gateway.probe.call('cpu', undefined)) - before
    const megabytes = (bytes * count) / 1e6
    return { mbps: (megabytes * 1000) / ms, cpuPerMb: cpu / megabytes }
  }

  const tcpPorts = new Map<number, number>()
  for (const count of STREAMS) {
    const part = { file: stage.file(), bytes: Math.floor(size / count) }
    tcpPorts.set(count, await forwarder.call('forward', { port: await stage.sender().call('serveFile', part) }))
  }
  const cases = STREAMS.flatMap((count) => [
    { name: nameOf('rclaude over ws', count), run: () => run(count, { port: gateway.port, request: request(count) }) },
    { name: nameOf('raw TCP through a relay', count), run: () => run(count, { port: tcpPorts.get(count) ?? 0 }) },
  ])
  const samples = await interleave(cases, runs, stage.signal)
  const of = (name: string, pick: (sample: Sample) => number): number => median((samples.get(name) ?? []).map(pick))
  const rowOf = (way: string, count: number): Row => {
    const [name, first] = [nameOf(way, count), nameOf(way, 1)]
    const isOurs = way.startsWith('rclaude')
    const mbps = of(name, (sample) => sample.mbps)
    return {
      cells: [
        name,
        fixed(mbps, 0),
        ratio(
          mbps,
          of(first, (sample) => sample.mbps),
        ),
        isOurs ? fixed(of(name, (sample) => sample.cpuPerMb)) : undefined,
        isOurs
          ? ratio(
              of(name, (sample) => sample.cpuPerMb),
              of(first, (sample) => sample.cpuPerMb),
            )
          : undefined,
      ],
      values: { mbps },
    }
  }
  return {
    name: 'streams',
    title: `STREAMS of one tunnel, ${size / 1e6} MB in all, median of ${runs} runs`,
    columns: ['row', 'MB/s', '/ 1 stream', 'gateway CPU ms a MB', '/ 1 stream'],
    rows: ['rclaude over ws', 'raw TCP through a relay'].flatMap((way) => STREAMS.map((count) => rowOf(way, count))),
    notes: [],
  }
}

const nameOf = (way: string, count: number): string => `${way}, ${count} stream${count === 1 ? '' : 's'}`
