/**
 * What the gateway tells the agent down the tunnel, and what the agent says of itself. The launch itself carries only
 * the gateway's URL, the task's id and a one-time join code; everything else, secrets included, travels here.
 */
import { z } from 'zod'
import { RepoToken, RepoUser } from './clone.ts'
import { RunResult } from './event.ts'
import { TaskId } from './ids.ts'
import { ForwardHost } from './port.ts'
import { AgentName, Author, Limits, PermissionMode, Secrets } from './task.ts'

/** Environment of the agent's process, set by the launcher. */
export const AGENT_ENV = {
  gatewayUrl: 'RCLAUDE_GATEWAY_URL',
  taskId: 'RCLAUDE_TASK_ID',
  launchId: 'RCLAUDE_LAUNCH_ID',
  joinCode: 'RCLAUDE_JOIN_CODE',
  /** Directory of this placement: state, work, home. */
  directory: 'RCLAUDE_DIR',
  /** Name or number of the user that the work runs as, where the agent is root; without, the work runs as the agent does. */
  workUser: 'RCLAUDE_WORK_USER',
  /** Socket of the task's Docker engine, in a folder of its own; unset where it has none. */
  engineSocket: 'RCLAUDE_ENGINE_SOCKET',
} as const

/** Folders of a placement that its Docker engine has at the same path, so that what the work mounts from them is there. */
export const ENGINE_FOLDERS = ['work', 'home', 'artifacts', 'tmp'] as const

/** What a process launcher passes on to the agent, and the agent to the work: nothing else is inherited. */
export const INHERITED_ENV = [
  'PATH',
  'LANG',
  'LC_ALL',
  'LC_CTYPE',
  'TZ',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'NODE_EXTRA_CA_CERTS',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'GIT_SSL_CAINFO',
  'RCLAUDE_CLAUDE',
] as const

/** Headers of the agent's dial to `GET /v1/tunnel`. */
export const DIAL_HEADERS = {
  taskId: 'rclaude-task',
  launchId: 'rclaude-launch',
  /** Only until it has been exchanged. */
  joinCode: 'rclaude-join',
  /** With the join code: what the agent's surroundings call the machine that it runs on (agent/machine.ts). A claim, no proof. */
  machine: 'rclaude-machine',
  // The run credential, which the agent makes itself, is the bearer token.
} as const

/** Refs of a task's repository on the gateway. Git refuses to receive a ref with one part after `refs/`, so these are branches. */
export const REFS = {
  /** What the user sent; for a cloned repository, what the agent checked out. */
  snapshot: 'refs/heads/snapshot',
  /** The user's HEAD commit at that time, when there was one. */
  base: 'refs/heads/base',
  /** What a tree cannot say, when there is any: see parts.ts. */
  parts: 'refs/heads/parts',
  checkpoint: 'refs/checkpoints/work',
  /** A commit whose tree is the coding agent's session files, saved together with the checkpoint. */
  session: 'refs/checkpoints/session',
  result: 'refs/heads/result',
} as const

export const RunWorkspace = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('none') }),
  z.object({
    kind: z.literal('git'),
    objectFormat: z.enum(['sha1', 'sha256']),
    /** The commit that the result is compared with. */
    snapshot: z.string(),
    /** The commit to check out: the snapshot, or an earlier turn's result or checkpoint. */
    checkout: z.string(),
    /** Restore the coding agent's session files from `REFS.session`. */
    session: z.boolean(),
    /** The commit of `REFS.parts`. */
    parts: z.string().optional(),
  }),
  z.object({
    kind: z.literal('repo'),
    url: z.string(),
    ref: z.string().optional(),
    depth: z.number().int().positive(),
    /** For the clone alone. */
    credential: z.object({ user: RepoUser, token: RepoToken }).optional(),
  }),
])
export type RunWorkspace = z.infer<typeof RunWorkspace>

/** One turn's work. Sending it twice is harmless: the agent knows it by `turn`. */
export const RunSpec = z.object({
  taskId: TaskId,
  turn: z.number().int().positive(),
  agent: AgentName,
  prompt: z.string().optional(),
  command: z.array(z.string()).optional(),
  model: z.string().optional(),
  permissionMode: PermissionMode,
  limits: Limits,
  /** What set each of them, for the message when it is reached: an option of the user's or a key of the gateway's. */
  limitKeys: z.object({ timeout: z.string(), idle: z.string(), budget: z.string() }).partial().optional(),
  setup: z.string().optional(),
  check: z.string().optional(),
  env: z.record(z.string(), z.string()),
  secrets: Secrets,
  workspace: RunWorkspace,
  /** The coding agent's session to resume. */
  resumeSessionId: z.string().optional(),
  /** Author of the commits made in the workspace. */
  author: Author,
  checkpointSeconds: z.number().int().positive(),
  /** The dead-man's switch: without a gateway for this long the agent stops its work and exits. */
  maxOfflineSeconds: z.number().int().positive(),
  /** Processes that people may have running beside the work at once. */
  maxProcesses: z.number().int().positive().optional(),
  /** Users besides the work's own that they may run as. */
  execUsers: z.array(z.string()).optional(),
  /** Hosts besides the agent's loopback that connections may be forwarded to. */
  forwardHosts: z.array(ForwardHost).optional(),
  /** Of `rclaude shell` and `exec -t`. */
  terminals: z
    .object({
      idleSeconds: z.number().positive(),
      scrollback: z.number().int().nonnegative(),
      recordingBytes: z.number().int().positive().optional(),
      /** At once */
      open: z.number().int().positive().optional(),
    })
    .optional(),
})
export type RunSpec = z.infer<typeof RunSpec>

/** The agent's answer to `GET /run`. */
export const RunStatus = z.object({
  /** Highest turn received; 0 before the first. */
  turn: z.number().int().nonnegative(),
  phase: z.enum(['idle', 'working', 'finished']),
  result: RunResult.optional(),
  /** Newest number in the agent's event log. */
  lastAgentSeq: z.number().int().nonnegative(),
})
export type RunStatus = z.infer<typeof RunStatus>
