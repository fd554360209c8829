/** How a task comes to be: created, repeated, or given another turn. */
import { createHash } from 'node:crypto'
import { statfs } from 'node:fs/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import { NO_USAGE } from '../../protocol/event.ts'
import { newTaskId, type TaskId } from '../../protocol/ids.ts'
import { REFS } from '../../protocol/run.ts'
import { type CreateTask, type Secrets, type Task, TaskSpec, type TaskState } from '../../protocol/task.ts'
import { formatBytes } from '../../protocol/units.ts'
import { isoNow, type TaskContext } from './context.ts'

/** Any one of these lets Claude Code reach a model. */
export const CLAUDE_CREDENTIALS = ['ANTHROPIC_API_KEY', 'CLAUDE_CODE_OAUTH_TOKEN', 'ANTHROPIC_AUTH_TOKEN'] as const
const CLAUDE_PLATFORMS = ['CLAUDE_CODE_USE_BEDROCK', 'CLAUDE_CODE_USE_VERTEX'] as const

export interface CreateOptions {
  owner: string
  idempotencyKey?: string | undefined
}

/** @returns the task, and whether this request made it */
export async function createTask(
  context: TaskContext,
  request: CreateTask,
  options: CreateOptions,
): Promise<{ task: Task; created: boolean }> {
  const requestHash = createHash('sha256').update(JSON.stringify(request)).digest('hex')
  const earlier = options.idempotencyKey && context.store.findIdempotent(options.owner, options.idempotencyKey)
  if (earlier) return { task: repeated(context, earlier, requestHash), created: false }

  const { secrets, ...rest } = request
  const spec = TaskSpec.parse(rest)
  const launcher = launcherOf(context, spec)
  checkCredentials(context, spec, secrets)
  await checkDisk(context)
  const id = newTaskId()
  if (spec.workspace.kind !== 'none') await context.workspaces.create(id, repositoryOptions(spec, options.owner))
  const task = insert(context, {
    id,
    spec: { ...spec, launcher: launcher.name },
    owner: options.owner,
    secrets,
    isolation: launcher.isolation,
    waitingFor: spec.workspace.kind === 'snapshot' ? 'workspace' : 'launch',
    idempotency: options.idempotencyKey ? { key: options.idempotencyKey, requestHash } : undefined,
  })
  context.wake()
  return { task, created: true }
}

/** The same work from the same snapshot, as a new task. */
export async function retryTask(context: TaskContext, old: Task, secrets: Secrets, owner: string): Promise<Task> {
  if (old.state !== 'ended')
    throw new RclaudeError('conflict', `task ${old.id} is ${old.state}: stop it first, or wait until it has ended`)
  if (old.spec.workspace.kind === 'snapshot' && old.workspace.snapshot === undefined)
    throw new RclaudeError('conflict', `task ${old.id} never got its workspace: run it anew from your repository`)
  const launcher = launcherOf(context, old.spec)
  checkCredentials(context, old.spec, secrets)
  await checkDisk(context)
  const id = newTaskId()
  if (old.spec.workspace.kind !== 'none') {
    await context.workspaces.create(id, repositoryOptions(old.spec, owner))
    if (old.spec.workspace.kind === 'snapshot') {
      await context.workspaces.copyFrom(id, old.id, [REFS.snapshot, REFS.base])
      await context.workspaces.seal(id)
    }
  }
  const task = insert(context, {
    id,
    spec: old.spec,
    owner,
    secrets,
    isolation: launcher.isolation,
    waitingFor: 'launch',
    workspace: old.spec.workspace.kind === 'snapshot' ? { snapshot: old.workspace.snapshot } : {},
    retryOf: old.id,
  })
  context.wake()
  return task
}

/** Another prompt: for the agent that is kept, or for a new one that takes up files and conversation. */
export function continueTask(context: TaskContext, task: Task, prompt: string, secrets: Secrets): Task {
  if (task.spec.agent === 'command')
    throw new RclaudeError('conflict', `task ${task.id} ran a command, which has no conversation: use rclaude retry`)
  const isKept = task.state === 'running' && task.keptUntil !== undefined
  if (task.state !== 'ended' && !isKept)
    throw new RclaudeError('conflict', `task ${task.id} is ${task.state}: wait until its turn has ended, or stop it`)
  if (task.state === 'ended') checkCredentials(context, task.spec, secrets)
  const changed = context.store.changeTask(task.id, (now) => {
    if (now.state !== task.state || now.turns.length !== task.turns.length) return undefined
    const turns = [...now.turns, { turn: now.turns.length + 1, prompt, createdAt: isoNow() }]
    if (now.state === 'running') {
      const { keptUntil: _, ...working } = stateOf(now) as Extract<TaskState, { state: 'running' }>
      return { state: working, turns, events: [{ type: 'state', state: 'running', message: 'another turn' }] }
    }
    const state = { state: 'queued', waitingFor: 'launch', since: isoNow() } as const
    return { state, turns, stopRequested: null, events: [{ type: 'state', state: 'queued', message: 'another turn' }] }
  })
  if (changed === undefined) throw new RclaudeError('conflict', `task ${task.id} changed meanwhile: look at it again`)
  if (Object.keys(secrets).length > 0) context.store.putSecrets(task.id, context.vault.seal(task.id, secrets))
  context.wake(task.id)
  return changed
}

/** The state part of a task, without the rest of it. */
export function stateOf(task: Task): TaskState {
  const { id, owner, spec, createdAt, turns, stopRequested, workspace, usage, lastSeq, retryOf, isolation, ...state } =
    task
  return state
}

interface Insert {
  id: TaskId
  spec: TaskSpec
  owner: string
  secrets: Secrets
  isolation: Task['isolation']
  waitingFor: 'workspace' | 'launch'
  workspace?: Task['workspace']
  retryOf?: TaskId
  idempotency?: { key: string; requestHash: string } | undefined
}

function insert(context: TaskContext, options: Insert): Task {
  const now = isoNow()
  const { id, spec, secrets } = options
  return context.store.insertTask({
    task: {
      id,
      owner: options.owner,
      spec,
      createdAt: now,
      turns: [{ turn: 1, prompt: spec.prompt ?? (spec.command ?? []).join(' '), createdAt: now }],
      workspace: options.workspace ?? {},
      usage: NO_USAGE,
      lastSeq: 0,
      isolation: options.isolation,
      ...(options.retryOf && { retryOf: options.retryOf }),
      state: 'queued',
      waitingFor: options.waitingFor,
      since: now,
    },
    secrets: Object.keys(secrets).length > 0 ? context.vault.seal(id, secrets) : undefined,
    idempotency: options.idempotency,
    events: [{ type: 'state', state: 'queued', message: `waiting for ${options.waitingFor}` }],
  })
}

function repeated(context: TaskContext, earlier: { taskId: TaskId; requestHash: string }, requestHash: string): Task {
  if (earlier.requestHash !== requestHash)
    throw new RclaudeError('conflict', 'this Idempotency-Key was used for another request: take a new one')
  const task = context.store.getTask(earlier.taskId)
  if (task === undefined) throw new RclaudeError('gone', `the task of this Idempotency-Key was deleted`)
  return task
}

function launcherOf(context: TaskContext, spec: { launcher?: string | undefined }) {
  const name = spec.launcher ?? context.config.launchers.default
  const launcher = context.launchers.get(name)
  if (launcher === undefined)
    throw new RclaudeError(
      'invalid',
      `this gateway has no launcher "${name}"; it has: ${[...context.launchers.keys()].join(', ') || 'none'}`,
    )
  return launcher
}

/** Before anything is launched: a task without credentials would fail after it cost money. */
function checkCredentials(context: TaskContext, spec: TaskSpec, secrets: Secrets): void {
  if (spec.agent !== 'claude') return
  const exposed = CLAUDE_CREDENTIALS.find((name) => name in spec.env)
  if (exposed !== undefined)
    throw new RclaudeError('invalid', `${exposed} was passed as env, where it can be read back: pass it as a secret`)
  const own = context.gatewayEnvironment('claude')
  const has = (name: string) => name in secrets || name in own
  if (CLAUDE_CREDENTIALS.some(has) || CLAUDE_PLATFORMS.some((name) => has(name) || name in spec.env)) return
  throw new RclaudeError(
    'model_auth_missing',
    'Claude Code has no credentials: set ANTHROPIC_API_KEY (or CLAUDE_CODE_OAUTH_TOKEN, from `claude setup-token`) where you run rclaude, or have the gateway pass its own with agents.claude.passEnvironment',
  )
}

async function checkDisk(context: TaskContext): Promise<void> {
  const disk = await statfs(context.workspaces.directory)
  const free = disk.bavail * disk.bsize
  const needed = context.config.limits.minFreeDisk
  if (free < needed)
    throw new RclaudeError(
      'disk_full',
      `the gateway's disk has ${formatBytes(free)} free, new tasks need ${formatBytes(needed)} (limits.minFreeDisk): delete old tasks with rclaude rm`,
    )
}

function repositoryOptions(spec: TaskSpec, owner: string) {
  const objectFormat = spec.workspace.kind === 'snapshot' ? spec.workspace.objectFormat : 'sha1'
  const project = spec.workspace.kind === 'snapshot' ? spec.workspace.project : undefined
  return { objectFormat, owner, project }
}
