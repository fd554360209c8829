/**
 * The gateway's configuration: `config.yaml` as `config.example.yaml` explains it, key by key. Every key can be
 * overridden from the environment: RCLAUDE_ and the path in capitals, joined by two underscores
 * (`limits.maxTasks` is RCLAUDE_LIMITS__MAX_TASKS).
 */
import { z } from 'zod'
import { LaunchersSection } from './launcher-config.ts'
import { MAX_BUDGET_USD, MAX_DAY_USD } from './limits.ts'
import { ModelProfileName, modelSettings } from './model.ts'
import { UserName } from './routes/access.ts'
import { Duration, Size } from './units.ts'

/** US dollars: of a turn, and of a day. */
const TurnUsd = z.number().positive().max(MAX_BUDGET_USD)
const DayUsd = z.number().positive().max(MAX_DAY_USD)

const defaults = <Shape extends z.ZodRawShape>(shape: Shape) => z.strictObject(shape).prefault({} as never)

const AddressBlock = z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()], {
  error: 'expected an address such as 10.0.0.7, or a block such as 10.0.0.0/16',
})

export const GatewayConfig = z.strictObject({
  listen: defaults({
    host: z.string().default('127.0.0.1'),
    /** 0 takes a free port. */
    port: z.number().int().min(0).max(65_535).default(7420),
    /** Host names that requests may name besides the listen address and publicUrl. */
    hosts: z.array(z.string()).default([]),
    /** Browser origins that may call the API. */
    origins: z.array(z.string()).default([]),
    /** Addresses of reverse proxies, whose word on a caller's address counts. */
    trustedProxies: z.array(AddressBlock).default([]),
    /** The header that they write. */
    forwardedHeader: z.enum(['x-forwarded-for', 'forwarded']).default('x-forwarded-for'),
    /** PEM files: with them the gateway speaks TLS, and nothing else, on its port. Undefined: plain HTTP. */
    tls: z.strictObject({ cert: z.string().min(1), key: z.string().min(1) }).optional(),
  }),
  /** How clients reach the gateway. */
  publicUrl: z.url({ protocol: /^https?$/ }).optional(),
  /** How agents reach it, when that differs. */
  agentUrl: z.url({ protocol: /^https?$/ }).optional(),
  dataDirectory: z.string().min(1).optional(),
  log: defaults({ level: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info') }),
  launchers: LaunchersSection,
  agents: defaults({
    claude: defaults({
      /** Names of variables in the gateway's own environment that are given to every Claude Code task. */
      passEnvironment: z.array(z.string()).default([]),
    }),
    /** Users inside a container, besides the work's own, that `exec --user` may name. */
    execUsers: z.array(z.string()).default([]),
  }),
  models: defaults({
    /** Profile of tasks that bring no credentials, and whose owner has no default profile. */
    default: z.string().optional(),
    profiles: z
      .record(
        ModelProfileName,
        z.strictObject({
          ...modelSettings,
          /** Names of variables in the gateway's own environment. */
          secrets: z.array(z.string()).default([]),
        }),
      )
      .default({}),
    /** For a model server to say whether it takes the credentials, before a task is let in. */
    checkTimeout: Duration.default(5),
  }),
  deadlines: defaults({
    workspace: Duration.default(900),
    launch: Duration.default(120),
    start: Duration.default(120),
    finish: Duration.default(300),
    offline: Duration.default(600),
    stop: Duration.default(60),
    transfer: Duration.default(3_600),
    maxOffline: Duration.default(3_600),
    /** A tunnel that lost its connection keeps its streams this long. */
    tunnelResume: Duration.default(60),
  }),
  intervals: defaults({
    reconcile: Duration.default(5),
    launchRetry: Duration.default(5),
    checkpoint: Duration.default(120),
    eventComment: Duration.default(15),
    /** How often the files of `listen.tls` are looked at. */
    certificate: Duration.default(10),
    /** How often `retention` is looked after. */
    prune: Duration.default(600),
  }),
  limits: defaults({
    maxTasks: z.number().int().positive().default(20),
    /** Undefined: limits.maxTasks alone. */
    maxTasksPerUser: z.number().int().positive().optional(),
    /** Tasks of one user that wait. */
    maxQueued: z.number().int().positive().default(1_000),
    launchAttempts: z.number().int().positive().max(100).default(5),
    taskTimeout: Duration.default(14_400),
    taskIdle: Duration.default(1_800),
    /** What a turn may cost whose task names no budget. Undefined: what maxTaskBudget and the day's budgets leave. */
    taskBudget: TurnUsd.optional(),
    maxTaskBudget: TurnUsd.optional(),
    /** What the tasks of one user may cost in a UTC day. */
    dailyBudgetPerUser: DayUsd.optional(),
    /** By name: what counts for one user in place of maxTasksPerUser, maxQueued and dailyBudgetPerUser. */
    users: z
      .record(
        UserName,
        z.strictObject({
          maxTasks: z.number().int().positive().optional(),
          maxQueued: z.number().int().positive().optional(),
          dailyBudget: DayUsd.optional(),
        }),
      )
      .default({}),
    /** Of one user. */
    maxModelProfiles: z.number().int().positive().max(10_000).default(100),
    requestBody: Size.default(8 * 1024 ** 2),
    workspace: Size.default(4 * 1024 ** 3),
    workspaceFiles: z.number().int().positive().default(1_000_000),
    cache: Size.default(8 * 1024 ** 3),
    artifact: Size.default(256 * 1024 ** 2),
    artifacts: Size.default(1024 ** 3),
    maxArtifacts: z.number().int().positive().max(10_000).default(1_000),
    event: Size.default(8 * 1024 ** 2),
    events: Size.default(256 * 1024 ** 2),
    eventsReserve: Size.default(16 * 1024 ** 2),
    /** Processes that `exec` may have running in one task at once. */
    processes: z.number().int().positive().max(10_000).default(1_000),
    /** Streams that one agent may have open at once. */
    agentStreams: z.number().int().min(2).max(1_000).default(8),
    /** Connections to the ports of one task, forwards and previews, that are open at once. */
    forwards: z.number().int().positive().max(1_000).default(256),
    /** An honest agent waits between dials, up to 10 s. */
    dialsPerMinute: z.number().int().min(6).default(120),
    /** Terminals of one task that are open at once. */
    terminals: z.number().int().positive().max(1_000).default(100),
    /** A terminal that nobody looks at is ended. */
    terminalIdle: Duration.default(3_600),
    /** Lines above a terminal's screen that whoever attaches is sent. */
    terminalScrollback: z.number().int().nonnegative().max(10_000).default(1_000),
    /** What is recorded of one terminal, where that is asked for. */
    terminalRecording: Size.default(64 * 1024 ** 2),
    headersBytes: Size.default(16 * 1024),
    /** Connections whose request is not authenticated yet. */
    handshakes: z.number().int().positive().default(512),
    handshakeTimeout: Duration.default(10),
    /** What one tunnel keeps until its agent has it, to send it again over the next connection. At least 1 MiB. */
    tunnelReplay: Size.default(4 * 1024 ** 2),
    /** What all tunnels keep together. */
    tunnelReplayTotal: Size.default(256 * 1024 ** 2),
    /** Of tokens that are made without an expiry; 0 for ever. */
    tokenLifetime: Duration.default(90 * 86_400),
    /** Longest that can be asked for; 0 for any. */
    tokenMaxLifetime: Duration.default(365 * 86_400),
    /** How long the old value of a rotated token is taken. */
    tokenGrace: Duration.default(3_600),
    /** Below this much free space new tasks are refused. */
    minFreeDisk: Size.default(256 * 1024 ** 2),
  }),
  /** Ports in the browser, each on an origin of its own. */
  previews: defaults({
    /** `PORT--TASK.domain`; undefined: `localhost` on a gateway on loopback, and none elsewhere. */
    domain: z
      .string()
      .regex(/^[a-z0-9-]+(\.[a-z0-9-]+)*$/, 'expected a domain in lower case, such as preview.example.org')
      .optional(),
    /** How long a browser that was let in stays in. */
    session: Duration.default(28_800),
    /** For the URL that lets it in to be opened. */
    ticket: Duration.default(60),
  }),
  /** 0 is for ever, and without end: nothing of a user's is deleted unless somebody said so. */
  retention: defaults({
    /** Ended tasks with all they left. */
    tasks: Duration.default(0),
    /** Workspaces and artifacts of ended tasks; what was said and done stays. */
    workspaces: Duration.default(0),
    /** What all tasks may hold together; beyond it those that ended first are deleted. */
    maxDisk: Size.default(0),
  }),
})
export type GatewayConfig = z.infer<typeof GatewayConfig>
export type GatewayConfigInput = z.input<typeof GatewayConfig>
