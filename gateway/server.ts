/** Builds the gateway: the only place that knows which concrete parts it is made of. */
import { mkdirSync, rmSync } from 'node:fs'
import { Server as TlsServer } from 'node:https'
import { join } from 'node:path'
import { writeOwnerOnly } from '../host/files.ts'
import { isLoopback } from '../host/loopback.ts'
import { proxiedFetch } from '../host/proxied-fetch.ts'
import { proxyFor } from '../host/proxy.ts'
import type { GatewayConfig } from '../protocol/config.ts'
import { RclaudeError } from '../protocol/errors.ts'
import type { HoldReason } from '../protocol/routes/gateway.ts'
import { AcceptedSessions } from '../tunnel/accept-session.ts'
import { ReplayBudget } from '../tunnel/replay-budget.ts'
import { keepAdminToken, makeFirstToken } from './admin-token.ts'
import { openVault } from './auth/vault.ts'
import { ServedCertificate } from './certificate.ts'
import { createHold, heldMessage, refuseHalfRestored } from './hold.ts'
import { createAgentServer } from './http/agent-app.ts'
import { createAddressOf } from './http/client-address.ts'
import { Connections } from './http/connections.ts'
import type { Deps } from './http/context.ts'
import { PortCount } from './http/port-count.ts'
import { Previews } from './http/previews/previews.ts'
import { createHttpServer } from './http-server.ts'
import { createDockerLauncher } from './launchers/docker/docker.ts'
import { createEcsLauncher } from './launchers/ecs/ecs.ts'
import type { Launcher } from './launchers/launcher.ts'
import { createProcessLauncher } from './launchers/process.ts'
import { drain, listen, urlOf } from './listen.ts'
import { lockDataDirectory } from './lock.ts'
import type { Logger } from './log.ts'
import { createMetrics } from './metrics.ts'
import { keepReserve } from './reserve.ts'
import { openStore } from './store/sqlite.ts'
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
  /** Looks at the certificate's files at once. */
  reload(): Promise<void>
  /** Ends all connections and closes the store. Tasks go on. */
  stop(): Promise<void>
}

export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const { config, dataDirectory, log } = options
  checkModels(config, (name) => Boolean(options.env[name]))
  const certificate = config.listen.tls && (await ServedCertificate.open(config.listen.tls, log))
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
  makeFirstToken(dataDirectory, { store, hold, log })
  const state = { isReady: false, url: '' }
  const connections = new Connections()
  const launchers = buildLaunchers(options, store.gatewayId)
  const links = new AgentLinks()
  const vault = openVault(join(dataDirectory, 'secret.key'))
  const deps: Deps = {
    store,
    config,
    launchers,
    links,
    metrics: createMetrics({ store, links, certificate }),
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
    heldUp: new Map(),
    stoppingOrphans: new Map(),
    reserve,
    dialLimit: new DialLimit(config.limits.dialsPerMinute),
    previews: new Previews({ config, store, gatewayUrl: () => state.url }),
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
    keepAdminToken: (oldHash, secret) => keepAdminToken(dataDirectory, oldHash, secret),
    hold,
    held: () => hold.reason() && heldMessage(hold.reason() as HoldReason),
    serveAgent: (link) => agentServer.serve(link),
  }
  const reconciler = new Reconciler(deps)
  const leases = new Leases(deps)
  const agentServer = createAgentServer(deps)
  const server = createHttpServer(deps, certificate?.context)
  if (server instanceof TlsServer) certificate?.follow(server, config.intervals.certificate * 1000)
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
    certificate?.stop()
    await Promise.all([reconciler.stop(), retention.stop()])
    for (const link of deps.links.all()) link.close('the gateway is stopping')
    await drain(server)
    connections.stop()
    agentServer.close()
    store.close()
    lock.release()
    log.info('gateway stopped')
  }

  async function reload(): Promise<void> {
    if (certificate === undefined) return log.info('nothing to reload: listen.tls is not set')
    await certificate.look()
  }

  return { url: state.url, reload, stop }
}

function buildLaunchers(
  { config, dataDirectory, agentArgv, env, ...options }: GatewayOptions,
  gatewayId: string,
): Map<string, Launcher> {
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
    launchers.set(
      'process',
      createProcessLauncher({ directory, agentArgv, env, usdPerHour: config.launchers.process.usdPerHour }),
    )
  }
  const { docker, ecs } = config.launchers
  if (docker !== undefined) launchers.set('docker', createDockerLauncher({ section: docker, gatewayId, env }))
  if (ecs !== undefined) launchers.set('ecs', createEcsLauncher({ section: ecs, gatewayId }))
  for (const launcher of options.launchers ?? []) launchers.set(launcher.name, launcher)
  if (!launchers.has(config.launchers.default))
    throw new RclaudeError(
      'invalid',
      `launchers.default is "${config.launchers.default}", which is not configured; there is: ${[...launchers.keys()].join(', ') || 'none'}`,
    )
  return launchers
}

const variables = (env: NodeJS.ProcessEnv, names: readonly string[]): Record<string, string> =>
  Object.fromEntries(names.flatMap((name) => (env[name] ? [[name, env[name]]] : [])))
