/** How a task comes to be: created, or repeated from an earlier one. */
import { RclaudeError } from '../../protocol/errors.ts'
import { NO_USAGE } from '../../protocol/event.ts'
import { newTaskId, type TaskId } from '../../protocol/ids.ts'
import { REFS } from '../../protocol/run.ts'
import { type CreateTask, type Task, TaskSpec } from '../../protocol/task.ts'
import type { Hidden } from '../auth/vault.ts'
import { type Asker, admit, checkQuotas } from './admission.ts'
import { isoNow, type TaskContext } from './context.ts'
import { sealed, tokenForAnotherClone } from './hidden.ts'
import { mustHaveFiles } from './pruned.ts'
import { cutLimits } from './turn-limits.ts'

export interface CreateOptions extends Asker {
  idempotencyKey?: string | undefined
}

/** @returns the task, and whether this request made it */
export async function createTask(
  context: TaskContext,
  request: CreateTask,
  options: CreateOptions,
): Promise<{ task: Task; created: boolean }> {
  // With its secrets, so it is nothing that a stolen database could be asked about.
  const requestHash = context.vault.fingerprint(JSON.stringify(request))
  const earlier = options.idempotencyKey && context.store.findIdempotent(options.owner, options.idempotencyKey)
  if (earlier) return { task: repeated(context, earlier, requestHash), created: false }

  const { secrets, repoToken, ...rest } = request
  const spec = TaskSpec.parse(rest)
  const launcher = await admit(context, spec, secrets, options)
  const id = newTaskId()
  if (spec.workspace.kind !== 'none') await context.workspaces.create(id, repositoryOptions(spec, options.owner))
  // Asked again: a second request with the same key may have come while this one waited.
  const rival = options.idempotencyKey && context.store.findIdempotent(options.owner, options.idempotencyKey)
  if (rival) {
    await context.workspaces.delete(id)
    return { task: repeated(context, rival, requestHash), created: false }
  }
  const task = await insert(context, {
    id,
    spec: { ...spec, launcher: launcher.name },
    owner: options.owner,
    tokenId: options.tokenId,
    hidden: { secrets, repoToken },
    isolation: launcher.isolation,
    waitingFor: spec.workspace.kind === 'snapshot' ? 'workspace' : 'launch',
    idempotency: options.idempotencyKey ? { key: options.idempotencyKey, requestHash } : undefined,
  })
  context.wake()
  return { task, created: true }
}

/** The same work from the same snapshot, as a new task. A repository is cloned again only if its clone is not here. */
export async function retryTask(context: TaskContext, old: Task, hidden: Hidden, asker: Asker): Promise<Task> {
  const { owner, tokenId } = asker
  if (old.state !== 'ended')
    throw new RclaudeError('conflict', `task ${old.id} is ${old.state}: stop it first, or wait until it has ended`)
  const { kind } = old.spec.workspace
  const snapshot = old.pruned === undefined ? old.workspace.snapshot : undefined
  if (kind === 'snapshot') mustHaveFiles(old)
  if (kind === 'snapshot' && snapshot === undefined)
    throw new RclaudeError('conflict', `task ${old.id} never got its workspace: run it anew from your repository`)
  const repoToken = await tokenForAnotherClone(context, old, hidden.repoToken)
  const launcher = await admit(context, old.spec, hidden.secrets, asker)
  const id = newTaskId()
  try {
    await copyWorkspace(context, old, id, owner)
  } catch (error) {
    await context.workspaces.delete(id)
    throw error
  }
  const { onDisconnect: _, ...spec } = old.spec // that was about the client of the first one
  const task = await insert(context, {
    id,
    spec,
    owner,
    tokenId,
    hidden: { secrets: hidden.secrets, repoToken },
    isolation: launcher.isolation,
    waitingFor: 'launch',
    workspace: snapshot === undefined ? {} : { snapshot },
    retryOf: old.id,
  })
  context.wake()
  return task
}

async function copyWorkspace(context: TaskContext, old: Task, id: TaskId, owner: string): Promise<void> {
  if (old.spec.workspace.kind === 'none') return
  await context.workspaces.create(id, repositoryOptions(old.spec, owner))
  if (old.workspace.snapshot === undefined || old.pruned !== undefined) return
  await context.workspaces.copyFrom(id, old.id, [REFS.snapshot, REFS.base, REFS.parts])
  await context.workspaces.seal(id)
}

interface Insert extends Asker {
  id: TaskId
  spec: TaskSpec
  hidden: Hidden
  isolation: Task['isolation']
  waitingFor: 'workspace' | 'launch'
  workspace?: Task['workspace']
  retryOf?: TaskId
  idempotency?: { key: string; requestHash: string } | undefined
}

/** What was made for a task that could not be stored goes with it. */
async function insert(context: TaskContext, options: Insert): Promise<Task> {
  try {
    return store(context, options)
  } catch (error) {
    await context.workspaces.delete(options.id)
    throw error
  }
}

function store(context: TaskContext, options: Insert): Task {
  const now = isoNow()
  const { id, spec, hidden, tokenId } = options
  checkQuotas(context, spec, options)
  const token = (tokenId === undefined ? undefined : context.store.tokenLimits().get(tokenId)) ?? {}
  const warnings = cutLimits(spec.limits, context.config.limits, token)
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
    tokenId,
    secrets: sealed(context, id, hidden),
    idempotency: options.idempotency,
    events: [
      ...warnings.map((message) => ({ type: 'warning' as const, message })),
      { type: 'state', state: 'queued', message: `waiting for ${options.waitingFor}` },
    ],
  })
}

function repeated(context: TaskContext, earlier: { taskId: TaskId; requestHash: string }, requestHash: string): Task {
  if (earlier.requestHash !== requestHash)
    throw new RclaudeError('conflict', 'this Idempotency-Key was used for another request: take a new one')
  const task = context.store.getTask(earlier.taskId)
  if (task === undefined) throw new RclaudeError('gone', `the task of this Idempotency-Key was deleted`)
  return task
}

function repositoryOptions(spec: TaskSpec, owner: string) {
  const objectFormat = spec.workspace.kind === 'snapshot' ? spec.workspace.objectFormat : 'sha1'
  const project = spec.workspace.kind === 'snapshot' ? spec.workspace.project : undefined
  return { objectFormat, owner, project }
}
