/**
 * What the gateway says to the agent of a running task, decided afresh each time it looks: give it its turn, tell it to
 * stop. Saying something twice is harmless, so after a restart it simply says it again.
 */
import { type RunSpec, RunStatus, type RunWorkspace } from '../../protocol/run.ts'
import type { Secrets, Task } from '../../protocol/task.ts'
import type { AgentLink } from '../tunnels/links.ts'
import type { TaskContext } from './context.ts'

/** @returns `nothing_to_stop` when a stop was asked for and the agent never had the turn */
export async function converse(context: TaskContext, task: Task, link: AgentLink): Promise<'told' | 'nothing_to_stop'> {
  const status = RunStatus.parse(await link.call('GET', '/run'))
  const hasTurn = status.turn >= task.turns.length
  if (task.stopRequested) {
    if (!hasTurn) return 'nothing_to_stop'
    await link.call('POST', '/stop', { reason: task.stopRequested.reason })
    return 'told'
  }
  if (!hasTurn) await link.call('POST', '/run', await runSpec(context, task))
  context.store.dropSecrets(task.id) // delivered: from here on only the agent has them
  return 'told'
}

async function runSpec(context: TaskContext, task: Task): Promise<RunSpec> {
  const { spec } = task
  const turn = task.turns.length
  const { limits } = context.config
  return {
    taskId: task.id,
    turn,
    agent: spec.agent,
    prompt: task.turns.at(-1)?.prompt,
    command: spec.command,
    model: spec.model,
    permissionMode: spec.permissionMode,
    limits: {
      ...spec.limits,
      timeoutSeconds: Math.min(spec.limits.timeoutSeconds ?? Number.POSITIVE_INFINITY, limits.taskTimeout),
      idleSeconds: Math.min(spec.limits.idleSeconds ?? Number.POSITIVE_INFINITY, limits.taskIdle),
    },
    setup: spec.setup,
    check: spec.check,
    env: spec.env,
    secrets: { ...context.gatewayEnvironment(spec.agent), ...secretsOf(context, task) },
    workspace: await workspaceOf(context, task),
    resumeSessionId: turn > 1 ? task.workspace.sessionId : undefined,
    author: spec.author ?? { name: task.owner, email: `${task.owner.replace(/[^a-z0-9._-]/g, '-')}@rclaude.invalid` },
    checkpointSeconds: Math.max(1, context.config.intervals.checkpoint),
    maxOfflineSeconds: Math.max(1, context.config.deadlines.maxOffline),
  }
}

function secretsOf(context: TaskContext, task: Task): Secrets {
  const sealed = context.store.takeSecrets(task.id)
  return sealed === undefined ? {} : context.vault.open(task.id, sealed)
}

async function workspaceOf(context: TaskContext, task: Task): Promise<RunWorkspace> {
  const source = task.spec.workspace
  if (source.kind === 'none') return { kind: 'none' }
  const refs = await context.workspaces.refs(task.id)
  const { snapshot } = refs
  if (snapshot !== undefined) {
    const isFirst = task.turns.length === 1
    return {
      kind: 'git',
      objectFormat: source.kind === 'snapshot' ? source.objectFormat : 'sha1',
      snapshot,
      checkout: isFirst ? snapshot : (refs.result ?? refs.checkpoint ?? snapshot),
      session: !isFirst && refs.session !== undefined,
    }
  }
  if (source.kind === 'repo') return { kind: 'repo', url: source.url, ref: source.ref }
  throw new Error(`task ${task.id} has no snapshot`)
}
