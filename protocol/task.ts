/** Tasks: what a user asks for, and what the gateway says of it. */
import { z } from 'zod'
import { RepoSource, RepoToken, tokenFault } from './clone.ts'
import { Connection } from './connection.ts'
import { RunResult, Usage } from './event.ts'
import { LaunchId, TaskId } from './ids.ts'
import { MAX_BUDGET_USD, WaitLimit } from './limits.ts'
import { Machine } from './machine.ts'
import { ModelProfileName } from './model.ts'
import { Outcome, Reason } from './outcome.ts'
import { ForwardHost } from './port.ts'

export const PERMISSION_MODES = ['bypassPermissions', 'acceptEdits', 'default', 'dontAsk', 'plan'] as const
export const PermissionMode = z.enum(PERMISSION_MODES)
export type PermissionMode = z.infer<typeof PermissionMode>

/** The name of a variable, as every shell takes it. */
export const EnvName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'expected a name like MY_VARIABLE')
const noNul = (text: string) => !text.includes('\0')
const Text = (max: number) => z.string().max(max).refine(noNul, 'must not hold a NUL character')

/** What a task may ask for at most; the gateway's own limits may say less. */
export const MAX_TIMEOUT_SECONDS = 7 * 86_400
export const MAX_IDLE_SECONDS = 86_400

export const Limits = z.object({
  /** Wall clock for the whole turn, setup and check included. */
  timeoutSeconds: z.number().int().positive().max(MAX_TIMEOUT_SECONDS).optional(),
  /** No event from the coding agent for this long ends the turn. A plain command may be silent: it is not watched. */
  idleSeconds: z.number().int().positive().max(MAX_IDLE_SECONDS).optional(),
  budgetUsd: z.number().positive().max(MAX_BUDGET_USD).optional(),
  maxTurns: z.number().int().positive().max(10_000).optional(),
})
export type Limits = z.infer<typeof Limits>

/** Where the files come from. */
export const WorkspaceSource = z.discriminatedUnion('kind', [
  /** An empty directory; nothing comes back but events and artifacts. */
  z.object({ kind: z.literal('none') }),
  /** A snapshot that the client delivers: `git push <task>/git COMMIT:refs/heads/snapshot`, or PUT of a tar or git bundle. */
  z.object({
    kind: z.literal('snapshot'),
    objectFormat: z.enum(['sha1', 'sha256']).default('sha1'),
    /** Tasks of one owner with the same project share what was already sent. */
    project: z.string().min(1).max(200).optional(),
  }),
  /** The agent clones it. */
  RepoSource,
])
export type WorkspaceSource = z.infer<typeof WorkspaceSource>

/** Longest prompt, in characters. */
export const MAX_PROMPT = 1_000_000
const Prompt = Text(MAX_PROMPT).refine((text) => text.trim() !== '', 'must not be empty')

export const AGENTS = ['claude', 'command'] as const
export const AgentName = z.enum(AGENTS)
export type AgentName = z.infer<typeof AgentName>

const identity = z
  .string()
  .min(1)
  .max(200)
  .regex(/^[^<>\n\0]+$/, 'must not hold < > or line breaks')
export const Author = z.object({ name: identity, email: identity })
export type Author = z.infer<typeof Author>

/** Shorter than this, a busy machine would look like one that is gone. */
export const MIN_GRACE_SECONDS = 5

/** The task is stopped when nobody has renewed its lease for so long; unset, it goes on without its client. */
export const OnDisconnect = z.object({
  stopAfterSeconds: z
    .number()
    .int()
    .min(MIN_GRACE_SECONDS)
    .max(7 * 86_400),
})
export type OnDisconnect = z.infer<typeof OnDisconnect>

const specFields = {
  agent: AgentName.default('claude'),
  /** What the coding agent is to do. */
  prompt: Prompt.optional(),
  /** Exact argv of a plain command; no shell. */
  command: z.array(Text(100_000)).min(1).max(10_000).optional(),
  model: z.string().min(1).max(200).optional(),
  /** One of the owner's model profiles, or of the gateway's; without it, what the task brings or a default. */
  modelProfile: ModelProfileName.optional(),
  permissionMode: PermissionMode.default('bypassPermissions'),
  limits: Limits.prefault({}),
  /** Shell command that prepares the workspace before the agent starts. */
  setup: Text(100_000).optional(),
  /** Shell command whose exit code says whether the result is good. */
  check: Text(100_000).optional(),
  env: z.record(EnvName, Text(100_000)).default({}),
  labels: z.record(z.string().min(1).max(63), z.string().max(250)).default({}),
  /** Keep the task running this long after a turn, so that people can step in or continue. */
  keepSeconds: z
    .number()
    .int()
    .nonnegative()
    .max(7 * 86_400)
    .default(0),
  launcher: z.string().max(50).optional(),
  machine: Machine.optional(),
  /** Hosts that those who may forward the task's ports reach through it, besides its own loopback. */
  forwardHosts: z.array(ForwardHost).max(50).optional(),
  onDisconnect: OnDisconnect.optional(),
  /** Author of the commits made for the task; the owner by default. */
  author: Author.optional(),
  workspace: WorkspaceSource,
} as const

const hasWork = (spec: { agent: AgentName; prompt?: string | undefined; command?: string[] | undefined }) =>
  spec.agent === 'command' ? spec.command !== undefined : spec.prompt !== undefined && spec.command === undefined

export const TaskSpec = z
  .object(specFields)
  .refine(hasWork, 'agent "command" takes a command; every other agent takes a prompt and no command')
export type TaskSpec = z.infer<typeof TaskSpec>

/** Values that must not be seen: delivered down the tunnel once, kept encrypted until then. */
export const Secrets = z.record(EnvName, Text(100_000).min(1))
export type Secrets = z.infer<typeof Secrets>

export const CreateTask = z
  .object({
    ...specFields,
    secrets: Secrets.default({}),
    /** Of `workspace.user`, for a private repository: the clone gets it, and nothing that runs afterwards. */
    repoToken: RepoToken.optional(),
  })
  .refine(hasWork, 'agent "command" takes a command; every other agent takes a prompt and no command')
  .superRefine(({ workspace, repoToken }, context) => {
    const message = repoTokenFault(workspace, repoToken)
    if (message !== undefined) context.addIssue({ code: 'custom', path: ['repoToken'], message })
  })

function repoTokenFault(workspace: WorkspaceSource, repoToken: string | undefined): string | undefined {
  const user = workspace.kind === 'repo' ? workspace.user : undefined
  if (repoToken === undefined) return user === undefined ? undefined : 'is missing: workspace.user has one'
  if (workspace.kind !== 'repo') return 'is for a workspace of kind "repo"'
  return user === undefined ? 'needs workspace.user, such as x-access-token' : tokenFault(workspace.url)
}

export type CreateTask = z.infer<typeof CreateTask>
export type CreateTaskInput = z.input<typeof CreateTask>

/** One round: a prompt and what came of it. */
export const Turn = z.object({
  turn: z.number().int().positive(),
  prompt: z.string(),
  createdAt: z.iso.datetime(),
  startedAt: z.iso.datetime().optional(),
  endedAt: z.iso.datetime().optional(),
  result: RunResult.optional(),
  /** What it may cost, as it was decided when it was launched; absent for no limit. */
  budgetUsd: z.number().positive().optional(),
})
export type Turn = z.infer<typeof Turn>

/** What the newest turn has cost so far, of a task whose turns cost so much together. */
export function costOfLastTurn(turns: readonly Pick<Turn, 'result'>[], costUsd: number): number {
  const earlier = turns.slice(0, -1).reduce((sum, turn) => sum + (turn.result?.usage.costUsd ?? 0), 0)
  return Math.max(0, costUsd - earlier)
}

/** One container or process that a launcher started. `handle` is the launcher's own: a pid, a container id, an ARN. */
export const Placement = z.object({
  launchId: LaunchId,
  launcher: z.string(),
  handle: z.string(),
  startedAt: z.iso.datetime(),
  /** What an hour of it costs, at the price at which it was had; absent when its launcher knows none. */
  usdPerHour: z.number().nonnegative().optional(),
  /** Since when it is paid for, where the wait for a machine is free: null until there is one. Absent: since its start. */
  paidFrom: z.iso.datetime().nullable().optional(),
  /** What else its launcher must know to find it again: nobody else reads it. Clients see it: it holds nothing secret. */
  data: z.record(z.string(), z.json()).optional(),
})
export type Placement = z.infer<typeof Placement>

/** How often the launcher had no machine for this task since it was queued; absent for never. */
const launchFailures = z.number().int().positive().optional()

/** Each state carries exactly the facts that are true in it. */
export const TaskState = z.discriminatedUnion('state', [
  /** Waits for its workspace, or for its turn to be launched. */
  z.object({
    state: z.literal('queued'),
    waitingFor: z.enum(['workspace', 'launch']),
    since: z.iso.datetime(),
    launchFailures,
    /** Not launched again before this time. */
    notBefore: z.iso.datetime().optional(),
    /** Which limit keeps it from being launched, as it is at the moment of the answer; absent when none does. */
    limit: WaitLimit.optional(),
    /** Its place, from 1, among those that wait for the same limit. */
    position: z.number().int().positive().optional(),
  }),
  z.object({ state: z.literal('launching'), launchId: LaunchId, since: z.iso.datetime(), launchFailures }),
  /** The placement exists and has not dialled in yet. */
  z.object({ state: z.literal('starting'), placement: Placement, since: z.iso.datetime() }),
  z.object({
    state: z.literal('running'),
    placement: Placement,
    connection: Connection,
    since: z.iso.datetime(),
    /** Set while the work is done and the task is only kept. */
    keptUntil: z.iso.datetime().optional(),
  }),
  /** Results are being saved, the placement is being removed. */
  z.object({
    state: z.literal('finishing'),
    placement: Placement.optional(),
    outcome: Outcome,
    reason: Reason,
    message: z.string(),
    since: z.iso.datetime(),
  }),
  z.object({
    state: z.literal('ended'),
    outcome: Outcome,
    reason: Reason,
    message: z.string(),
    endedAt: z.iso.datetime(),
    /** Something the task made could not be kept. */
    incomplete: z.boolean(),
  }),
])
export type TaskState = z.infer<typeof TaskState>
export type StateName = TaskState['state']
export const STATES = ['queued', 'launching', 'starting', 'running', 'finishing', 'ended'] as const

export const StopRequest = z.object({ by: z.string(), at: z.iso.datetime(), reason: z.string() })
export type StopRequest = z.infer<typeof StopRequest>

/** Workspace and artifacts are no more; `by` is the key that asked for it, or who did. */
export const Pruned = z.object({ at: z.iso.datetime(), by: z.string() })
export type Pruned = z.infer<typeof Pruned>

/** Of all machines that a task had, the present one included; what its model costs is in `usage`. */
export const MachineCost = z.object({ usd: z.number().nonnegative(), seconds: z.number().nonnegative() })
export type MachineCost = z.infer<typeof MachineCost>

const taskBase = {
  id: TaskId,
  owner: z.string(),
  spec: TaskSpec,
  createdAt: z.iso.datetime(),
  turns: z.array(Turn).min(1),
  stopRequested: StopRequest.optional(),
  /** Commits in the task's repository on the gateway. */
  workspace: z.object({
    snapshot: z.string().optional(),
    checkpoint: z.string().optional(),
    result: z.string().optional(),
    /** The coding agent's session that was saved with checkpoint or result. */
    sessionId: z.string().optional(),
  }),
  /** Summed over all turns. */
  usage: Usage,
  /** Newest event's number, 0 before the first. */
  lastSeq: z.number().int().nonnegative(),
  /** Set by `retry`: the task this one repeats. */
  retryOf: TaskId.optional(),
  /** What keeps the work apart from the machine it runs on; `none` for the process launcher. */
  isolation: z.enum(['none', 'container']).optional(),
  pruned: Pruned.optional(),
  /** As it is at the moment of the answer; absent when no launcher gave a price. */
  machineCost: MachineCost.optional(),
} as const

export const Task = z.intersection(z.object(taskBase), TaskState)
export type Task = z.infer<typeof Task>
export type TaskBase = z.infer<z.ZodObject<typeof taskBase>>

/** The state part of a task, without the rest of it. */
export function stateOf(task: Task): TaskState {
  const { id, owner, spec, createdAt, turns, stopRequested, workspace, usage, lastSeq, ...rest } = task
  const { retryOf, isolation, pruned, machineCost, ...state } = rest
  return state
}
