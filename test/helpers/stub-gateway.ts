/**
 * A real gateway in this process whose launcher starts a stub instead of an agent: it writes down its environment and
 * sleeps. So a test holds a launch's join code in its hand, and speaks as the agent itself: honestly or not.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { onTestFinished } from 'vitest'
import { createLogger } from '../../gateway/log.ts'
import { type GatewayOptions, startGateway } from '../../gateway/server.ts'
import { type Client, createClient } from '../../protocol/client.ts'
import { GatewayConfig, type GatewayConfigInput } from '../../protocol/config.ts'
import { routes } from '../../protocol/routes.ts'
import { AGENT_ENV, DIAL_HEADERS } from '../../protocol/run.ts'
import type { CreateTaskInput, Task } from '../../protocol/task.ts'
import { connectWebSocket } from '../../tunnel/connect.ts'
import { serveStreams } from '../../tunnel/http.ts'
import { createTunnel, OWN_PEER, type Tunnel } from '../../tunnel/tunnel.ts'
import { eventually } from './eventually.ts'

const STUB = ['/bin/sh', '-c', 'env > env.new && mv env.new env && exec sleep 600'] as const

export interface StubGateway {
  url: string
  data: string
  token: string
  api: Client
  log(): string
  /** A task whose placement has started; its launch is ours to use. */
  launch(spec?: Partial<CreateTaskInput>): Promise<StolenLaunch>
  getTask(taskId: string): Promise<Task>
}

export interface StolenLaunch {
  taskId: string
  launchId: string
  joinCode: string
}

export async function startStubGateway(
  config: GatewayConfigInput = {},
  options: Pick<GatewayOptions, 'launchers'> = {},
): Promise<StubGateway> {
  const directory = mkdtempSync(join(tmpdir(), 'rclaude-stub-'))
  const data = join(directory, 'data')
  const logFile = join(directory, 'log')
  const gateway = await startGateway({
    config: GatewayConfig.parse({
      ...config,
      listen: { port: 0, ...config.listen },
      deadlines: { stop: '1s', ...config.deadlines },
      intervals: { reconcile: '200ms', ...config.intervals },
    }),
    dataDirectory: data,
    version: 'test',
    log: createLogger('debug', logFile),
    agentArgv: STUB,
    env: process.env,
    ...options,
  })
  const token = readFileSync(join(data, 'admin-token'), 'utf8').trim()
  const api = createClient({ baseUrl: gateway.url, token, version: 'test' })
  const getTask = (taskId: string) => api.call(routes.getTask, { params: { taskId } })
  onTestFinished(async () => {
    const { tasks } = await api.call(routes.listTasks, { query: { state: 'active' } })
    for (const task of tasks) {
      await api.call(routes.stopTask, { params: { taskId: task.id }, body: {} })
      if ('placement' in task && task.placement) kill(Number(task.placement.handle))
    }
    for (const { id } of tasks)
      await eventually(`${id} has ended`, async () => (await getTask(id)).state === 'ended', 25_000)
    await gateway.stop()
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  })
  return {
    url: gateway.url,
    data,
    token,
    api,
    getTask,
    log: () => readFileSync(logFile, 'utf8'),
    async launch(spec = {}) {
      const task = await api.call(routes.createTask, {
        body: { agent: 'command', command: ['true'], workspace: { kind: 'none' }, ...spec },
      })
      const text = await eventually('the stub runs', () => readQuietly(join(data, 'run', task.id, 'env')))
      await eventually('the launch is stored', async () => (await getTask(task.id)).state === 'starting')
      const variable = (name: string) => new RegExp(`^${name}=(.*)$`, 'm').exec(text)?.[1] ?? ''
      return { taskId: task.id, launchId: variable(AGENT_ENV.launchId), joinCode: variable(AGENT_ENV.joinCode) }
    },
  }
}

export interface DialAs {
  taskId: string
  launchId: string
  credential: string
  joinCode?: string
  headers?: Record<string, string>
}

/** Answers a request of the gateway and returns true, or leaves it to `politely`. */
export type Serve = (request: IncomingMessage, response: ServerResponse) => boolean

/** What an agent says of itself when it dials. */
export const dialHeaders = ({ headers, ...who }: DialAs): Record<string, string> => ({
  authorization: `Bearer ${who.credential}`,
  [DIAL_HEADERS.taskId]: who.taskId,
  [DIAL_HEADERS.launchId]: who.launchId,
  ...(who.joinCode !== undefined && { [DIAL_HEADERS.joinCode]: who.joinCode }),
  ...headers,
})

/** Dials as an agent would. Rejects with UpgradeRefused when the gateway says no. */
export async function dialAs(
  gateway: { url: string },
  who: DialAs,
  serve?: Serve,
  onUpgrade?: (request: IncomingMessage, stream: Duplex) => void,
): Promise<Tunnel> {
  const { transport } = await connectWebSocket(`${gateway.url.replace('http', 'ws')}/v1/tunnel`, {
    signal: AbortSignal.timeout(10_000),
    headers: dialHeaders(who),
  })
  const tunnel = createTunnel(transport, { side: 'client', ...OWN_PEER })
  const server = createServer((request, response) => {
    if (serve?.(request, response) !== true) politely(request, response)
  })
  if (onUpgrade !== undefined) server.on('upgrade', onUpgrade)
  serveStreams(tunnel, server)
  onTestFinished(async () => {
    await tunnel.close('the test is over')
    server.closeAllConnections()
  })
  return tunnel
}

/** What an agent with nothing to do says. */
const politely: RequestListener = (request, response) => {
  const path = (request.url ?? '').split('?', 1)[0]
  if (path === '/events') {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' }).flushHeaders()
    return
  }
  request.resume()
  const status = { turn: 1, phase: 'finished', lastAgentSeq: 0 }
  if (path === '/run' || path === '/stop' || path === '/shutdown')
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(status))
  else response.writeHead(404).end()
}

export const newCredential = (): string => Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('base64url')

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // The launcher was quicker.
  }
}

const readQuietly = (file: string): string | undefined => {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
