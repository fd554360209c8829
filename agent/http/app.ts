/**
 * What the agent answers on the streams that the gateway opens: the run itself for the gateway alone, and processes,
 * files and one-shot commands for people, whose requests the gateway forwards with who they are in `rclaude-user`.
 */
import { createServer, type Server } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { Hono, type MiddlewareHandler } from 'hono'
import { z } from 'zod'
import { RclaudeError } from '../../protocol/errors.ts'
import { HealthScope } from '../../protocol/health.ts'
import { RunSpec } from '../../protocol/run.ts'
import type { EventLog } from '../events/log.ts'
import { forwardTo } from '../hands/forward.ts'
import type { Hands } from '../hands/hands.ts'
import type { HealthMonitor } from '../health/health.ts'
import type { ProcessService } from '../processes/service.ts'
import type { Runner } from '../run/runner.ts'
import type { SshServer } from '../ssh/server.ts'
import { attachUpgrade } from './attach.ts'
import { execRoutes } from './exec.ts'
import { fileRoutes } from './files.ts'
import { type PortsOptions, portRoutes, portUpgrade } from './ports.ts'
import { onProblem, parse, parseBody } from './problem.ts'
import { processRoutes } from './processes.ts'
import { type AgentEnv, stream } from './send.ts'
import { sshRoutes } from './ssh.ts'
import { syncRoutes } from './sync.ts'
import { dispatchUpgrades } from './upgrade.ts'

const HEADER_DEADLINE_MS = 10_000

export interface AgentAppOptions {
  runner: Runner
  log: EventLog
  processes: ProcessService
  health: Pick<HealthMonitor, 'look'>
  ssh: Pick<SshServer, 'open' | 'user'>
  ports: Omit<PortsOptions, 'onFault'>
  /** Root of the workspace. */
  workspace: string
  /** Where unfinished uploads of files wait. */
  uploads: string
  /** Serves the files, where they are another user's than the agent's. */
  hands: Hands | undefined
  /** The gateway has everything: end. */
  shutdown(): void
  onFault(error: unknown): void
}

export function createAgentServer(options: AgentAppOptions): Server {
  const app = new Hono<AgentEnv>()
  app.onError(onProblem({ onFault: options.onFault }))
  app.route('/', runRoutes(options))
  app.route('/processes', processRoutes(options.processes))
  app.route('/ssh', sshRoutes(options.ssh))
  app.route('/ports', portRoutes(options.ports))
  app.route('/exec', execRoutes(options.processes))
  const { hands, workspace, uploads } = options
  if (hands === undefined) {
    app.route('/files', fileRoutes({ root: workspace, uploads }))
    app.route('/sync', syncRoutes({ root: workspace }))
  } else for (const path of ['/files/*', '/sync/*']) app.all(path, (c) => forwardTo(hands, c))
  const server = createServer(
    { headersTimeout: HEADER_DEADLINE_MS, requestTimeout: 0 },
    getRequestListener(app.fetch, { overrideGlobalObjects: false }),
  )
  const { onFault } = options
  const ports = portUpgrade({ ...options.ports, onFault })
  const upgrades = [
    { prefix: '/processes/', handle: attachUpgrade(options.processes, { onFault }) },
    { prefix: '/ports/', handle: ports },
    { prefix: '/connections/', handle: ports },
  ]
  server.on('upgrade', dispatchUpgrades(upgrades, { onFault }))
  return server
}

/** A forwarded request can never mean these: the gateway's route table has none of them, and it would carry a user. */
const gatewayOnly: MiddlewareHandler = async (c, next) => {
  if (c.req.header('rclaude-user') !== undefined) throw new RclaudeError('not_found', 'there is nothing here')
  await next()
}

function runRoutes({ runner, log, health, shutdown }: AgentAppOptions): Hono<AgentEnv> {
  const app = new Hono<AgentEnv>()
  for (const path of ['/run', '/stop', '/engine-ended', '/shutdown', '/events', '/health']) app.use(path, gatewayOnly)
  app.get('/run', (c) => c.json(runner.status))
  app.post('/run', async (c) => {
    runner.begin(await parseBody(c.req.raw, RunSpec))
    return c.json(runner.status)
  })
  app.post('/stop', async (c) => {
    const { reason } = await parseBody(c.req.raw, z.object({ reason: z.string() }))
    runner.stop({ outcome: 'cancelled', reason: 'user', message: reason })
    return c.json(runner.status)
  })
  app.post('/engine-ended', async (c) => {
    const { message } = await parseBody(c.req.raw, z.object({ message: z.string() }))
    runner.engineEnded(message)
    return c.json(runner.status)
  })
  app.post('/shutdown', (c) => {
    setImmediate(shutdown) // after the answer
    return c.json(runner.status)
  })
  app.get('/events', (c) => {
    const { since, follow } = parse('the query', EventsQuery, c.req.query())
    return stream(c, { 'content-type': 'application/x-ndjson' }, async (answer) => {
      for await (const lines of log.read(since, { follow: follow === '1', signal: answer.signal }))
        await answer.write(lines)
      return undefined
    })
  })
  app.get('/health', async (c) => {
    const { scope } = parse('the query', HealthQuery, c.req.query())
    return c.json(await health.look(scope))
  })
  return app
}

const HealthQuery = z.object({ scope: HealthScope })
const EventsQuery = z.object({
  since: z.coerce.number().int().nonnegative().default(0),
  follow: z.enum(['0', '1']).default('0'),
})
