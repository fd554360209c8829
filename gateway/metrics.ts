/**
 * What operators see, in Prometheus' text format: tasks by state, one series per tunnel, and what Node says of this
 * process (event loop, memory, garbage). Everything is read when it is asked for; nothing is kept up to date between.
 */
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import { STATES } from '../protocol/task.ts'
import type { CloseReason, TunnelStats } from '../tunnel/types.ts'
import type { Store } from './store/store.ts'
import type { AgentLinks } from './tunnels/links.ts'

export interface Metrics {
  readonly contentType: string
  render(): Promise<string>
  tunnelOpened(): void
  tunnelClosed(kind: CloseReason['kind']): void
  dialRefused(code: string): void
}

export interface MetricsSources {
  store: Store
  links: AgentLinks
  /** Undefined: the gateway speaks plain HTTP. */
  certificate: { readonly expiresAt: Date } | undefined
}

export function createMetrics({ store, links, certificate }: MetricsSources): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  new Gauge({
    name: 'rclaude_tasks',
    help: 'Tasks that have not ended, by state',
    labelNames: ['state'],
    registers,
    collect() {
      for (const state of STATES) if (state !== 'ended') this.set({ state }, store.countTasks(state))
    },
  })
  new Gauge({
    name: 'rclaude_tunnels',
    help: 'Tunnels to agents, by whether their connection is up or being waited for',
    labelNames: ['connection'],
    registers,
    collect() {
      this.set({ connection: 'up' }, 0)
      this.set({ connection: 'lost' }, 0)
      for (const { tunnel } of links.all()) this.inc({ connection: tunnel.isAttached ? 'up' : 'lost' })
    },
  })
  if (certificate !== undefined)
    new Gauge({
      name: 'rclaude_certificate_expires_timestamp_seconds',
      help: 'When the certificate that is served expires',
      registers,
      collect() {
        this.set(certificate.expiresAt.getTime() / 1000)
      },
    })
  const perTunnel = PER_TUNNEL.map(({ name, help, type, value }) => {
    const Metric = type === 'counter' ? Counter : Gauge
    return { metric: new Metric({ name, help, labelNames: ['task_id'], registers }), value }
  })
  const opened = new Counter({ name: 'rclaude_tunnels_opened_total', help: 'Tunnels that agents opened', registers })
  const closed = new Counter({
    name: 'rclaude_tunnels_closed_total',
    help: 'Tunnels that ended, by reason',
    labelNames: ['reason'],
    registers,
  })
  const refused = new Counter({
    name: 'rclaude_dials_refused_total',
    help: 'Dials of agents that were refused, by error code',
    labelNames: ['code'],
    registers,
  })

  /** One look at each tunnel, for all its series. */
  function collectTunnels(): void {
    for (const { metric } of perTunnel) metric.reset() // tunnels that are gone
    for (const { taskId, tunnel } of links.all()) {
      const stats = tunnel.stats()
      for (const { metric, value } of perTunnel) {
        const now = value(stats)
        if (now !== undefined) metric.inc({ task_id: taskId }, now)
      }
    }
  }

  return {
    contentType: registry.contentType,
    render() {
      collectTunnels()
      return registry.metrics()
    },
    tunnelOpened: () => opened.inc(),
    tunnelClosed: (reason) => closed.inc({ reason }),
    dialRefused: (code) => refused.inc({ code }),
  }
}

interface PerTunnel {
  name: string
  help: string
  type: 'gauge' | 'counter'
  /** Undefined as long as it is not known. */
  value: (stats: TunnelStats) => number | undefined
}

const PER_TUNNEL: readonly PerTunnel[] = [
  {
    name: 'rclaude_tunnel_rtt_seconds',
    help: 'Smoothed round trip to the agent',
    type: 'gauge',
    value: ({ rttMs }) => (rttMs === undefined ? undefined : rttMs / 1000),
  },
  {
    name: 'rclaude_tunnel_in_flight_bytes',
    help: 'Bytes sent to the agent that it has not acknowledged',
    type: 'gauge',
    value: ({ bytesInFlight }) => bytesInFlight,
  },
  {
    name: 'rclaude_tunnel_streams',
    help: 'Open streams',
    type: 'gauge',
    value: ({ streams }) => streams,
  },
  {
    name: 'rclaude_tunnel_sent_bytes_total',
    help: 'Bytes sent to the agent',
    type: 'counter',
    value: ({ bytesSent }) => bytesSent,
  },
  {
    name: 'rclaude_tunnel_received_bytes_total',
    help: 'Bytes received from the agent',
    type: 'counter',
    value: ({ bytesReceived }) => bytesReceived,
  },
  {
    name: 'rclaude_tunnel_resumes_total',
    help: 'Lost connections that were taken up again',
    type: 'counter',
    value: ({ resumes }) => resumes,
  },
  {
    name: 'rclaude_tunnel_stream_resets_total',
    help: 'Streams that were reset, by either side',
    type: 'counter',
    value: ({ resets }) => resets,
  },
]
