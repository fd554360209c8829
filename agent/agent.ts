/** Builds the agent of one placement: its run, its processes, its files, and the way to the gateway. */
import { once } from 'node:events'
import { join } from 'node:path'
import { writeAuthorities } from '../host/authorities.ts'
import { AGENT_ENV, type RunSpec } from '../protocol/run.ts'
import { serveStreams } from '../tunnel/http.ts'
import { adapters } from './adapters/registry.ts'
import { saveArtifacts } from './artifacts.ts'
import { stayDialled } from './dial.ts'
import { EventLog } from './events/log.ts'
import { ownFiles } from './files/work-files.ts'
import { Hands, type HandsOptions } from './hands/hands.ts'
import { workFilesOf } from './hands/work-files.ts'
import { HealthMonitor } from './health/health.ts'
import { createAgentServer } from './http/app.ts'
import { machineName } from './machine.ts'
import { createOfflineSwitch } from './offline.ts'
import { PortConnections } from './ports/connections.ts'
import { ProcessService, TERMINAL_LIMITS } from './processes/service.ts'
import type { Worker } from './processes/user.ts'
import { endContainers, giveSharedFolders } from './run/docker-engine.ts'
import { type Directories, directoriesOf, makeDirectories } from './run/environment.ts'
import { Runner } from './run/runner.ts'
import type { StopCause } from './run/stop.ts'
import { SshServer } from './ssh/server.ts'
import { Uplink } from './uplink.ts'
import { wayTo } from './way.ts'
import { createTurnWorkspace } from './workspace/turn-workspace.ts'
import { Workspace } from './workspace/workspace.ts'

export interface AgentOptions {
  gatewayUrl: string
  taskId: string
  launchId: string
  joinCode: string
  /** Root of the placement's folders. */
  directory: string
  /** Who the work runs as; undefined: as this process does. */
  worker?: Worker | undefined
  /** How the program is started a second time, as that user. */
  hands: Pick<HandsOptions, 'argv' | 'env'>
  env: NodeJS.ProcessEnv
  log(message: string): void
}

/** Before a run says otherwise. */
const DEFAULT_MAX_OFFLINE_SECONDS = 3_600
/** Work that is ended because the gateway is gone or the machine is taken gets this long to save itself. */
const LAST_WORDS_MS = 20_000

export interface Agent {
  /** Resolves when the agent has nothing more to do. */
  done: Promise<void>
  /** The machine is being taken: save what there is, then end. */
  drain(cause: StopCause): Promise<void>
}

export async function startAgent(options: AgentOptions): Promise<Agent> {
  const way = wayTo(options.gatewayUrl, options.env)
  const directories = directoriesOf(options.directory)
  const engineSocket = options.env[AGENT_ENV.engineSocket]
  if (engineSocket !== undefined && options.worker !== undefined)
    await giveSharedFolders(options.directory, engineSocket, options.worker)
  const hands = options.worker && handsOf(options, directories)
  const user = options.worker && { ...options.worker, hands }
  await makeDirectories(directories, user)
  const files = hands === undefined ? ownFiles : workFilesOf(hands)
  const ending = new AbortController()
  const machine = await machineName(options.env, options.log)
  const authorities = await writeAuthorities(options.directory, options.env)
  const own = { ...options.env, ...(authorities !== undefined && { GIT_SSL_CAINFO: authorities }) }
  const base = { own, directories, taskId: options.taskId, launchId: options.launchId, userName: user?.name }
  const uplink = new Uplink()
  let workspace: Workspace | undefined
  let terminals: RunSpec['terminals']

  const log = new EventLog({ directory: directories.state })
  const runner = new Runner({
    log,
    base,
    user,
    adapterOf: (name) => adapters[name],
    workspaceOf: (spec, adapter, hides) =>
      createTurnWorkspace({
        workspace: workspaceOf(spec),
        spec,
        adapter,
        ...hides,
        cwd: directories.work,
        home: directories.home,
        sessionDirectory: join(directories.state, 'session'),
        files,
        insist: (action, signal) => uplink.insist(action, signal),
      }),
    saveArtifacts: (leaks) =>
      uplink.insist(() =>
        saveArtifacts(directories.artifacts, leaks, (...artifact) => uplink.putArtifact(...artifact), files),
      ),
    onBegin(spec) {
      offline.setLimit(spec.maxOfflineSeconds)
      processes.allow({ running: spec.maxProcesses, terminals: spec.terminals?.open, users: spec.execUsers })
      forwardHosts = spec.forwardHosts ?? []
      terminals = spec.terminals ?? terminals
    },
  })
  const processes = new ProcessService({
    directory: join(directories.state, 'processes'),
    workspace: directories.work,
    baseEnv: () => runner.environment,
    user,
    terminal: () =>
      terminals === undefined
        ? TERMINAL_LIMITS
        : {
            idleMs: terminals.idleSeconds * 1_000,
            scrollback: terminals.scrollback,
            recordingBytes: terminals.recordingBytes ?? TERMINAL_LIMITS.recordingBytes,
          },
  })
  const health = new HealthMonitor({
    workspace: directories.work,
    temporary: directories.temporary,
    mark: { name: AGENT_ENV.launchId, value: options.launchId },
    hands,
    path: () => runner.environment.PATH ?? '',
    events: () => log.lastSeq,
    started: () => processes.list().map((one) => one.use()),
  })
  const ssh = new SshServer({
    directory: directories.ssh,
    workspace: directories.work,
    environment: () => runner.environment,
    user,
    files,
    processes,
  })
  const connections = new PortConnections()
  let forwardHosts: readonly string[] = []
  const server = createAgentServer({
    runner,
    log,
    processes,
    health,
    ssh,
    ports: { connections, allowedHosts: () => forwardHosts, launchId: options.launchId, hands },
    workspace: directories.work,
    uploads: directories.uploads,
    hands,
    shutdown: () => void end(),
    onFault: (error) => options.log(`request failed: ${error instanceof Error ? error.stack : error}`),
  })
  const offline = createOfflineSwitch(DEFAULT_MAX_OFFLINE_SECONDS, () => {
    options.log('no gateway for too long: ending')
    uplink.abandon()
    void drain({ outcome: 'interrupted', reason: 'offline', message: 'the gateway was unreachable for too long' })
  })

  function workspaceOf(spec: RunSpec): Workspace {
    workspace ??= new Workspace({
      taskId: options.taskId,
      work: directories.work,
      state: join(directories.state, 'git'),
      private: directories.private,
      user,
      author: spec.author,
      env: own,
      forward: (request, response) => uplink.forward(request, response),
    })
    return workspace
  }

  async function end(): Promise<void> {
    if (ending.signal.aborted) return
    offline.stop()
    connections.close()
    await processes.close()
    if (engineSocket !== undefined) await endContainers(engineSocket).catch(() => {}) // it has ended, or never began
    void log.close()
    uplink.abandon()
    await hands?.close()
    ending.abort()
  }

  /** The turn ends with what it has; the gateway reads that and lets us go, or we go when the time is up. */
  async function drain(cause: StopCause): Promise<void> {
    if (runner.status.phase === 'idle') return end()
    runner.stop(cause)
    const deadline = new Promise((resolve) => setTimeout(resolve, LAST_WORDS_MS))
    await Promise.race([runner.idle(), deadline])
    if (uplink.isAttached) await Promise.race([once(ending.signal, 'abort'), deadline])
    await end()
  }

  const done = stayDialled({
    ...options,
    machine,
    way,
    signal: ending.signal,
    onTunnel(opened) {
      options.log('connected to the gateway')
      uplink.use(opened)
      offline.online()
      // A lost connection may come back within the same tunnel; the time without one counts all the same.
      opened.onAttachment((isAttached) => (isAttached ? offline.online() : offline.offline()))
      serveStreams(opened, server)
    },
    onLost(reason) {
      options.log(`lost the gateway: ${reason}`)
      offline.offline()
    },
  }).catch(async (error: unknown) => {
    // The gateway does not know this agent, or no longer wants it: whatever still runs has no owner.
    uplink.abandon()
    options.log(`the gateway refuses this agent: ${error instanceof Error ? error.message : error}`)
    await drain({ outcome: 'interrupted', reason: 'offline', message: 'the gateway refuses this agent' })
  })
  return { done, drain }
}

/** Undefined where the work has no other user than the agent. */
function handsOf({ worker, hands, log }: AgentOptions, { work, uploads }: Directories): Hands | undefined {
  return worker && new Hands({ ...hands, argv: [...hands.argv, work, uploads], user: worker, log })
}
