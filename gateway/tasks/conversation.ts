/**
 * What the gateway says to the agent of a running task, decided afresh each time it looks: give it its turn, tell it to
 * stop. Saying something twice is harmless, so after a restart it simply says it again.
 */
import { DEFAULT_CLONE_DEPTH } from '../../protocol/clone.ts'
import { type RunSpec, RunStatus, type RunWorkspace } from '../../protocol/run.ts'
import type { Task, TaskSpec } from '../../protocol/task.ts'
import { Hidden } from '../auth/vault.ts'
import type { AgentLink } from '../tunnels/links.ts'
import { turnEnded } from './consequences.ts'
import { isoNow, type TaskContext } from './context.ts'
import { isModelVariable, type ModelAccess, modelAccess } from './model-access.ts'
import { tokenLimitsOf, turnLimits } from './turn-limits.ts'

/**
 * @returns `nothing_to_stop` when a stop was asked for and the agent never had the turn; `listening` when it has more to
 * say before it can be told anything
 */
export async function converse(
  context: TaskContext,
  task: Task,
  link: AgentLink,
): Promise<'told' | 'nothing_to_stop' | 'listening'> {
  const status = RunStatus.parse(await link.call('GET', '/run'))
  const hasTurn = status.turn >= task.turns.length
  if (task.stopRequested) {
    if (!hasTurn) return 'nothing_to_stop'
    await link.call('POST', '/stop', { reason: task.stopRequested.reason })
    return 'told'
  }
  if (!hasTurn) await link.call('POST', '/run', await runSpec(context, task))
  dropDelivered(context, task)
  return status.phase === 'finished' && hasTurn ? takeResult(context, task, link, status) : 'told'
}

/** From here on only the agent has them; those of a turn that was added meanwhile stay. */
function dropDelivered(context: TaskContext, task: Task): void {
  if (context.store.getTask(task.id)?.turns.length === task.turns.length) context.store.dropSecrets(task.id)
}

/** A result whose event was lost, on a full disk, is in the agent's status as well. */
function takeResult(context: TaskContext, task: Task, link: AgentLink, status: RunStatus): 'told' | 'listening' {
  const { result, turn } = status
  if (result === undefined || task.turns.at(-1)?.result !== undefined) return 'told'
  if (context.store.lastAgentSeq(link.launchId) < status.lastAgentSeq) return 'listening'
  context.store.changeTask(task.id, (now) => turnEnded(now, { turn, at: isoNow(), result }))
  context.wake(task.id)
  return 'told'
}

async function runSpec(context: TaskContext, task: Task): Promise<RunSpec> {
  const { spec } = task
  const hidden = hiddenOf(context, task)
  const turn = task.turns.length
  const access = modelAccess(context, task.owner, spec, hidden.secrets)
  return {
    taskId: task.id,
    turn,
    agent: spec.agent,
    prompt: task.turns.at(-1)?.prompt,
    command: spec.command,
    model: spec.model ?? access?.model,
    permissionMode: spec.permissionMode,
    ...turnLimits(
      spec.limits,
      context.config.limits,
      tokenLimitsOf(context.store, task.id),
      task.turns.at(-1)?.budgetUsd,
    ),
    setup: spec.setup,
    check: spec.check,
    env: { ...access?.env, ...spec.env },
    secrets: { ...passedOn(context, spec, access), ...access?.secrets, ...hidden.secrets },
    workspace: await workspaceOf(context, task, hidden.repoToken),
    resumeSessionId: turn > 1 ? task.workspace.sessionId : undefined,
    author: spec.author ?? { name: task.owner, email: `${task.owner.replace(/[^a-z0-9._-]/g, '-')}@rclaude.invalid` },
    checkpointSeconds: whole(context.config.intervals.checkpoint),
    maxOfflineSeconds: whole(context.config.deadlines.maxOffline),
    maxProcesses: context.config.limits.processes,
    execUsers: context.config.agents.execUsers,
    forwardHosts: spec.forwardHosts,
    terminals: {
      idleSeconds: context.config.limits.terminalIdle,
      scrollback: context.config.limits.terminalScrollback,
      recordingBytes: context.config.limits.terminalRecording,
      open: context.config.limits.terminals,
    },
  }
}

/** What the gateway gives to every task; of its credentials only when nobody brought others. */
function passedOn(context: TaskContext, spec: TaskSpec, access: ModelAccess | undefined): Record<string, string> {
  const passed = Object.entries(context.gatewayEnvironment(spec.agent))
  const isOwn = access?.from === 'gateway' && access.profile === undefined
  return Object.fromEntries(passed.filter(([name]) => isOwn || !isModelVariable(name)))
}

/** Seconds as the agent takes them. */
const whole = (seconds: number): number => Math.max(1, Math.ceil(seconds))

function hiddenOf(context: TaskContext, task: Task): Hidden {
  const sealed = context.store.sealedSecrets(task.id)
  return sealed === undefined ? { secrets: {} } : Hidden.parse(context.vault.open(task.id, sealed))
}

async function workspaceOf(context: TaskContext, task: Task, repoToken?: string): Promise<RunWorkspace> {
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
      ...(refs.parts !== undefined && { parts: refs.parts }),
    }
  }
  if (source.kind === 'repo') {
    const { user, depth = DEFAULT_CLONE_DEPTH, ...from } = source
    return { ...from, depth, ...(user && repoToken && { credential: { user, token: repoToken } }) }
  }
  throw new Error(`task ${task.id} has no snapshot`)
}
