/**
 * Many agents in one process. Each dials with the agent's own dial code and serves its streams with the agent's own file
 * and process routes; only the run itself is a stand-in that says "working" and never ends. The same server can listen
 * on a TCP port as well: then a request differs only in the way that it came.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { performance } from 'node:perf_hooks'
import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono'
import { stayDialled } from '../../../agent/dial.ts'
import { fileRoutes } from '../../../agent/http/files.ts'
import { onProblem } from '../../../agent/http/problem.ts'
import { processRoutes } from '../../../agent/http/processes.ts'
import { type AgentEnv, stream } from '../../../agent/http/send.ts'
import { ProcessService } from '../../../agent/processes/service.ts'
import type { RunStatus } from '../../../protocol/run.ts'
import { serveStreams } from '../../../tunnel/http.ts'
import type { Tunnel } from '../../../tunnel/tunnel.ts'
import { serve } from './serve.ts'

export interface SeededLaunch {
  taskId: string
  launchId: string
  joinCode: string
}

export interface Online {
  /** Agents that are connected now. */
  online: number
  /** Since the call. */
  ms: number
}

export type AgentsCalls = {
  /** Builds the API over a workspace. @returns the TCP port on which it can be reached without a tunnel */
  start(request: { workspace: string; state: string }): Promise<number>
  /** Dials all, so many at a time, and resolves when all are connected or the time is up. */
  dial(request: { launches: SeededLaunch[]; gatewayUrls: string[]; atOnce: number; timeoutMs: number }): Promise<Online>
  /** How many are connected now. */
  online(request: undefined): number
  /** Resolves when so many are connected or the time is up. */
  whenOnline(request: { count: number; timeoutMs: number }): Promise<Online>
  /** Round trips over `sample` of the tunnels, one after another, in ms. */
  ping(request: { sample: number }): Promise<number[]>
}

const POLL_MS = 10

const tunnels = new Map<string, Tunnel>()
const server = createServer({ requestTimeout: 0 })
const online = (): number => tunnels.size

const calls: AgentsCalls = {
  start({ workspace, state }) {
    const app = agentApp(workspace, state)
    server.on('request', getRequestListener(app.fetch, { overrideGlobalObjects: false }))
    return new Promise((resolve) =>
      server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)),
    )
  },
  async dial({ launches, gatewayUrls, atOnce, timeoutMs }) {
    const start = performance.now()
    const waiting = [...launches.entries()]
    const dialNext = async (): Promise<void> => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift())
        await dialOne(next[1], gatewayUrls[next[0] % gatewayUrls.length] ?? '')
    }
    let timer: NodeJS.Timeout | undefined
    const timeIsUp = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs)
    })
    await Promise.race([Promise.all(Array.from({ length: atOnce }, dialNext)), timeIsUp])
    clearTimeout(timer)
    waiting.length = 0 // the time is up: those under way go on, no more begin
    return { online: online(), ms: performance.now() - start }
  },
  online,
  async whenOnline({ count, timeoutMs }) {
    const start = performance.now()
    while (online() < count && performance.now() - start < timeoutMs)
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    return { online: online(), ms: performance.now() - start }
  },
  async ping({ sample }) {
    const all = [...tunnels.values()]
    const times: number[] = []
    for (let n = 0; n < Math.min(sample, all.length); n++) {
      const tunnel = all[Math.floor((n * all.length) / Math.min(sample, all.length))]
      if (tunnel !== undefined) times.push(await tunnel.ping())
    }
    return times
  },
}

/** Resolves with the first connection; goes on for ever. */
function dialOne(launch: SeededLaunch, gatewayUrl: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stayDialled({
      ...launch,
      gatewayUrl,
      way: { isLoopback: true },
      signal: new AbortController().signal,
      log: () => {},
      onTunnel(tunnel) {
        tunnels.set(launch.launchId, tunnel)
        serveStreams(tunnel, server)
        resolve()
      },
      onLost: () => void tunnels.delete(launch.launchId),
    }).catch(reject)
  })
}

function agentApp(workspace: string, state: string): Hono<AgentEnv> {
  const working: RunStatus = { turn: 1, phase: 'working', lastAgentSeq: 0 }
  const service = new ProcessService({
    directory: state,
    workspace,
    baseEnv: () => ({ PATH: process.env.PATH ?? '' }),
    user: undefined,
  })
  const app = new Hono<AgentEnv>()
  app.onError(onProblem({ onFault: (error) => console.error(error) }))
  app.get('/run', (c) => c.json(working))
  // The gateway follows each agent's events as long as the tunnel lives: nothing ever happens here.
  app.get('/events', (c) =>
    stream(
      c,
      { 'content-type': 'application/x-ndjson' },
      ({ signal }) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => resolve(undefined), { once: true })
        }),
    ),
  )
  app.route('/processes', processRoutes(service))
  app.route('/files', fileRoutes({ root: workspace, uploads: `${workspace}.uploads` }))
  return app
}

serve(calls)
