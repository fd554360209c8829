/** Builds the gateway: the only place that knows which concrete parts it is made of. */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { getRequestListener } from '@hono/node-server'
import { writeOwnerOnly } from '../host/files.ts'
import { isLoopback } from '../host/loopback.ts'
import { proxiedFetch } from '../host/proxied-fetch.ts'
import { proxyFor } from '../host/proxy.ts'
import type { GatewayConfig } from '../protocol/config.ts'
import { RclaudeError } from '../protocol/errors.ts'
import { newRequestId } from '../protocol/ids.ts'
import type { HoldReason } from '../protocol/routes/gateway.ts'
import { UserName } from '../protocol/routes.ts'
import { AcceptedSessions } from '../tunnel/accept-session.ts'
import { ReplayBudget } from '../tunnel/replay-budget.ts'
import { hashSecret, makeToken } from './auth/tokens.ts'
import { openVault } from './auth/vault.ts'
import { createHold, heldMessage, refuseHalfRestored } from './hold.ts'
import { createAgentServer } from './http/agent-app.ts'
import { createApp } from './http/app.ts'
import { createAddressOf } from './http/client-address.ts'
import { Connections } from './http/connections.ts'
import type { Deps } from './http/context.ts'
import { type GuardOptions, guard } from './http/guard.ts'
import { PortCount } from './http/port-count.ts'
import { Previews } from './http/previews/previews.ts'
import { servePreview } from './http/previews/serve.ts'
import { problemHeaders, toRclaudeError } from './http/problem.ts'
import { onUpgrade } from './http/upgrade.ts'
import type { Launcher } from './launchers/launcher.ts'
import { createProcessLauncher } from './launchers/process.ts'
import { lockDataDirectory } from './lock.ts'
import type { Logger } from './log.ts'
import { createMetrics } from './metrics.ts'
import { keepReserve } from './reserve.ts'
import { openStore } from './store/sqlite.ts'
import type { StoredToken } from './store/store.ts'
import type { TaskContext } from './tasks/context.ts'
import { Leases } from './tasks/leases.ts'
import { checkModels } from './tasks/model-access.ts'
import { reportHeld } from './tasks/placements.ts'
import { Reconciler } from './tasks/reconciler.ts'
import { Retention } from './tasks/retention.ts'
import { Served } from './tasks/served.ts'
import { DialLimit } from './tunnels/dial-limit.ts'
import { AgentLinks } from './tunnels/links.ts'
import { Artifacts } from './workspaces/artifacts.ts'
import { Workspaces } from './workspaces/workspaces.ts'

/** Clients that are reading get this long to finish when the gateway stops. */
const DRAIN_MS = 3_000

export interface GatewayOptions {
  config: GatewayConfig
  dataDirectory: string
  version: string
  log: Logger
  /** How the `process` launcher starts an agent. */
  agentArgv: readonly [string, ...string[]]
  env: NodeJS.ProcessEnv
  /** Beside the ones that the configuration names, or in the place of one with the same name. */
  launchers?: readonly Launcher[]
  /** Told before each step of a task's end. */
  onFinishStep?: TaskContext['onFinishStep']
}

export interface Gateway {
  url: string
  /** Ends all connections and closes the store. Tasks go on. */
  stop(): Promise<void>
}

export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const { config, dataDirectory, log } = options
  checkModels(config, (name) => Boolean(options.env[name]))
  mkdirSync(dataDirectory, { recursive: true, mode: 0o700 })
  refuseHalfRestored(dataDirectory)
  const lock = lockDataDirectory(dataDirectory)
  const reserve = keepReserve(dataDirectory, join(dataDirectory, 'reserve'))
  const store = openStore(
    join(dataDirectory, 'gateway.db'),
    (taskId, error) => log.error({ err: error, taskId }, 'the row of a task cannot be read'),
    { onBackup: (file, from, to) => log.info({ file, from, to }, 'saved the database before it is migrated') },
  )
  const hold = createHold(dataDirectory, store)
  makeFirstToken()
  const state = { isReady: false, url: '' }
  const connections = new Connections()
  const launchers = buildLaunchers(options)
  const links = new AgentLinks()
  const vault = openVault(join(dataDirectory, 'secret.key'))
  const deps: Deps = {
    store,
    config,
    launchers,
    links,
    metrics: createMetrics({ store, links }),
    workspaces: new Workspaces({
      directory: dataDirectory,
      maxInputBytes: config.limits.workspace,
      maxEntries: config.limits.workspaceFiles,
      maxCacheBytes: config.limits.cache,
      warn: (message, error) => log.warn({ err: error }, message),
    }),
    artifacts: new Artifacts(join(dataDirectory, 'artifacts'), {
      artifactBytes: config.limits.artifact,
      totalBytes: config.limits.artifacts,
      count: config.limits.maxArtifacts,
    }),
    vault,
    log,
    startedAtMs: Date.now(),
    served: new Served(),
    reserve,
    dialLimit: new DialLimit(config.limits.dialsPerMinute),
    previews: new Previews({ config, store, vault, gatewayUrl: () => state.url }),
    portCount: new PortCount(config.limits.forwards),
    sessions: new AcceptedSessions({
      maxReplayBytes: config.limits.tunnelReplay,
      budget: new ReplayBudget(config.limits.tunnelReplayTotal),
      resumeWithinMs: config.deadlines.tunnelResume * 1000,
    }),
    connections,
    addressOf: createAddressOf(config.listen),
    version: options.version,
    agentUrl: () => config.agentUrl ?? state.url,
    gatewayEnvironment: (agent) =>
      variables(options.env, agent === 'claude' ? config.agents.claude.passEnvironment : []),
    fetchFor:
      (url) =>
      async (...call) => {
        const proxy = proxyFor(url, options.env)
        return (proxy === undefined ? fetch : proxiedFetch(proxy, url))(...call)
      },
    gatewaySecrets: (names) => variables(options.env, names),
    wake: (taskId) => reconciler.wake(taskId),
    onFinishStep: options.onFinishStep,
    isReady: () => state.isReady,
    leases: () => leases,
    keepAdminToken,
    hold,
    held: () => hold.reason() && heldMessage(hold.reason() as HoldReason),
    serveAgent: (link) => agentServer.serve(link),
  }
  const reconciler = new Reconciler(deps)
  const leases = new Leases(deps)
  const agentServer = createAgentServer(deps)
  const server = createHttpServer(deps, guardOptions(config))
  await listen(server, config, join(dataDirectory, 'port'))
  state.url = urlOf(server, config)
  state.isReady = true
  writeOwnerOnly(
    join(dataDirectory, 'gateway.json'),
    JSON.stringify({ url: state.url, pid: process.pid, version: options.version, startedAt: new Date().toISOString() }),
  )
  reconciler.start()
  leases.start()
  const retention = new Retention(deps)
  retention.start()
  if (hold.reason() !== undefined) void reportHeld(deps)
  log.info({ url: state.url, dataDirectory, version: options.version }, 'gateway ready')

  async function stop(): Promise<void> {
    state.isReady = false
    rmSync(join(dataDirectory, 'gateway.json'), { force: true })
    leases.stop()
    await Promise.all([reconciler.stop(), retention.stop()])
    for (const link of deps.links.all()) link.close('the gateway is stopping')
    await drain(server)
    connections.stop()
    agentServer.close()
    store.close()
    lock.release()
    log.info('gateway stopped')
  }

  /** Whoever can read the data folder is the administrator. */
  function makeFirstToken(): void {
    const isValid = ({ role, revokedAt, expiresAt }: StoredToken) =>
      role === 'admin' && revokedAt === undefined && (expiresAt === undefined || Date.parse(expiresAt) > Date.now())
    // A backup without the key has no token that anybody could read.
    const isReadable = existsSync(join(dataDirectory, 'admin-token')) || hold.reason()?.kind !== 'restored'
    if (isReadable && store.listTokens().some(isValid)) return
    const { token, secret } = makeToken({ name: 'first', user: firstUser(), role: 'admin' })
    writeOwnerOnly(join(dataDirectory, 'admin-token'), `${secret}\n`) // first: a token that nobody can read locks out
    store.insertToken(token)
    log.info({ file: join(dataDirectory, 'admin-token') }, 'made the first administrator token')
  }

  function keepAdminToken(oldHash: string, secret: string): void {
    const file = join(dataDirectory, 'admin-token')
    if (hashSecret(readIfThere(file)?.trim() ?? '') === oldHash) writeOwnerOnly(file, `${secret}\n`)
  }

  return { url: state.url, stop }
}

/** Whoever set it up, by the name that this machine knows. */
function firstUser(): string {
  const name = UserName.safeParse(userInfo().username.toLowerCase())
  return name.success ? name.data : 'admin'
}

function buildLaunchers({ config, dataDirectory, agentArgv, env, ...options }: GatewayOptions): Map<string, Launcher> {
  const launchers = new Map<string, Launcher>()
  if (config.launchers.process.enabled) {
    if (
      !isLoopback(config.listen.host) ||
      (config.publicUrl !== undefined && !isLoopback(new URL(config.publicUrl).hostname))
    )
      throw new RclaudeError(
        'invalid',
        `launchers.process isolates nothing, so it runs only on a gateway that serves its own user on loopback, not on ${config.publicUrl ?? config.listen.host}: set launchers.process.enabled to false`,
      )
    const directory = join(dataDirectory, 'run')
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    launchers.set('process', createProcessLauncher({ directory, agentArgv, env }))
  }
  for (const launcher of options.launchers ?? []) launchers.set(launcher.name, launcher)
  if (!launchers.has(config.launchers.default))
    throw new RclaudeError('invalid', `launchers.default is "${config.launchers.default}", which is not enabled`)
  return launchers
}

const variables = (env: NodeJS.ProcessEnv, names: readonly string[]): Record<string, string> =>
  Object.fromEntries(names.flatMap((name) => (env[name] ? [[name, env[name]]] : [])))

/** Of each direction of a client's connection: one message of a tunnel, where Node 20's 16 KiB would cut it in four writes. */
const SOCKET_BUFFER_BYTES = 64 * 1024

function createHttpServer(deps: Deps, guardOptions: GuardOptions): Server {
  const { limits } = deps.config
  const app = createApp(deps)
  const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false })
  const server = createServer({
    headersTimeout: limits.handshakeTimeout * 1000,
    requestTimeout: 0, // uploads take their time; the header has its own deadline
    maxHeaderSize: limits.headersBytes,
    connectionsCheckingInterval: 1_000,
    highWaterMark: SOCKET_BUFFER_BYTES,
  })
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const preview = deps.previews.match(request.headers.host)
    if (preview !== undefined) return void servePreview(deps, preview, request, response)
    try {
      guard(request, guardOptions)
    } catch (refused) {
      const requestId = newRequestId()
      const error = toRclaudeError(refused, deps.log, requestId)
      response.writeHead(error.status, { ...problemHeaders(error, requestId), connection: 'close' })
      response.end(JSON.stringify(error.toProblem(requestId)))
      return
    }
    void listener(request, response)
  }
  server.on('request', answer)
  // Without a listener Node says 100 by itself, before anybody has looked at the token. `app.ts` says it after that.
  server.on('checkContinue', answer)
  server.on('upgrade', onUpgrade(deps, guardOptions))
  limitHandshakes(server, limits.handshakes)
  return server
}

/**
 * Connections that have not sent a whole request header yet. When there is one too many, the one that has waited longest
 * goes: whoever knows what to ask gets in, however many only hold the door.
 */
function limitHandshakes(server: Server, limit: number): void {
  const waiting = new Set<Socket>()
  server.on('connection', (socket) => {
    waiting.add(socket)
    socket.once('close', () => waiting.delete(socket))
    const [oldest] = waiting
    if (waiting.size > limit) oldest?.destroy()
  })
  for (const event of ['request', 'checkContinue', 'upgrade'] as const)
    server.prependListener(event, (request: IncomingMessage) => waiting.delete(request.socket))
}

function guardOptions(config: GatewayConfig): GuardOptions {
  const urls = [config.publicUrl, config.agentUrl].flatMap((url) => (url === undefined ? [] : [new URL(url).hostname]))
  const own = isLoopback(config.listen.host) ? ['localhost', '127.0.0.1', '[::1]'] : []
  const hosts = [config.listen.host, ...own, ...urls, ...config.listen.hosts]
  return {
    hosts: new Set(hosts.map((host) => host.toLowerCase())),
    origins: new Set(config.listen.origins.map((origin) => origin.toLowerCase())),
  }
}

/**
 * With port 0, takes the port of the last time again when it is free: agents that outlived a killed gateway dial the
 * address that they were given.
 */
async function listen(server: Server, { listen: { host, port } }: GatewayConfig, portFile: string): Promise<void> {
  const wanted = port === 0 ? Number(readIfThere(portFile) ?? 0) : port
  try {
    await bind(server, host, wanted)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    if (port !== 0)
      throw new RclaudeError('conflict', `port ${port} on ${host} is taken: set listen.port, or 0 for a free one`)
    await bind(server, host, 0)
  }
  writeOwnerOnly(portFile, String((server.address() as AddressInfo).port))
}

function bind(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

function urlOf(server: Server, config: GatewayConfig): string {
  if (config.publicUrl !== undefined) return config.publicUrl.replace(/\/$/, '')
  const { address, family, port } = server.address() as AddressInfo
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

async function drain(server: Server): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve))
  server.closeIdleConnections()
  const timer = setTimeout(() => server.closeAllConnections(), DRAIN_MS)
  await closed
  clearTimeout(timer)
}
