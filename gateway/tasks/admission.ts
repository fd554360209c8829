/** What is looked at before a task is let in: its launcher, its model credentials, the gateway's disk, its user's limits. */
import { statfs } from 'node:fs/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import type { TokenId } from '../../protocol/ids.ts'
import { nextUtcDayMs } from '../../protocol/limits.ts'
import { CLAUDE_CREDENTIALS } from '../../protocol/model.ts'
import type { Secrets, TaskSpec } from '../../protocol/task.ts'
import { formatBytes } from '../../protocol/units.ts'
import type { Launcher } from '../launchers/launcher.ts'
import type { TaskContext } from './context.ts'
import { machineFor } from './machine.ts'
import { checkAccess, modelAccess } from './model-access.ts'
import { countRoom, LEAST_USD, secondsToMidnight } from './room.ts'
import { limitsOfUser } from './user-limits.ts'

/** Whose task it will be, and who asks for it. */
export interface Asker {
  owner: string
  tokenId: TokenId | undefined
}

/** @throws RclaudeError in words that say what to do */
export async function admit(context: TaskContext, spec: TaskSpec, secrets: Secrets, asker: Asker): Promise<Launcher> {
  const held = context.held()
  if (held !== undefined) throw new RclaudeError('unavailable', held)
  checkQuotas(context, spec, asker)
  const launcher = launcherOf(context, spec)
  machineFor(launcher, spec)
  await checkModel(context, asker.owner, spec, secrets)
  await checkDisk(context)
  return launcher
}

/**
 * How many of the user's tasks wait, and what was spent today. Asked again in the same breath as the task is stored:
 * requests that come at once must not pass both.
 */
export function checkQuotas(context: TaskContext, spec: TaskSpec, { owner, tokenId }: Asker): void {
  const { limit, value } = limitsOfUser(context.config.limits, owner).maxQueued
  const queued = context.store.countQueued(owner)
  if (queued >= value)
    throw new RclaudeError(
      'limit',
      `${owner} has ${queued} tasks in the queue, as many as may wait (${limit}): wait until some have started, or stop some with rclaude stop`,
      { retryAfterSeconds: QUEUE_RETRY_SECONDS },
    )
  checkDayBudgets(context, spec, { owner, tokenId })
}

/** Money of a day that is spent. What running tasks have set aside may come back: for that a task waits in the queue. */
export function checkDayBudgets(context: TaskContext, spec: TaskSpec, { owner, tokenId }: Asker): void {
  const nowMs = Date.now()
  const claim = { owner, tokenId, agent: spec.agent, budgetUsd: spec.limits.budgetUsd }
  for (const day of countRoom(context.store, context.config.limits, nowMs).budgetsOf(claim)) {
    if (day.budgetUsd - day.spentUsd >= LEAST_USD) continue
    throw new RclaudeError(
      'limit',
      `${day.of} has spent $${day.spentUsd.toFixed(2)} of $${day.budgetUsd.toFixed(2)} today (${day.limit}); the next day begins at ${new Date(nextUtcDayMs(nowMs)).toISOString().slice(0, 16)}Z, midnight UTC`,
      { retryAfterSeconds: secondsToMidnight(nowMs) },
    )
  }
}

/** Nobody knows when a task in the queue will start; this often it is worth asking again. */
const QUEUE_RETRY_SECONDS = 30

function launcherOf(context: TaskContext, spec: TaskSpec): Launcher {
  const name = spec.launcher ?? context.config.launchers.default
  const launcher = context.launchers.get(name)
  if (launcher === undefined)
    throw new RclaudeError(
      'invalid',
      `this gateway has no launcher "${name}"; it has: ${[...context.launchers.keys()].join(', ') || 'none'}`,
    )
  return launcher
}

/** Before anything is launched: a task whose model refuses it would fail after it cost money. */
async function checkModel(context: TaskContext, owner: string, spec: TaskSpec, secrets: Secrets): Promise<void> {
  if (spec.agent !== 'claude') return
  const exposed = CLAUDE_CREDENTIALS.find((name) => name in spec.env)
  if (exposed !== undefined)
    throw new RclaudeError('invalid', `${exposed} was passed as env, where it can be read back: pass it as a secret`)
  const access = modelAccess(context, owner, spec, secrets)
  if (access === undefined)
    throw new RclaudeError(
      'model_auth_missing',
      'Claude Code has no credentials: set ANTHROPIC_API_KEY (or CLAUDE_CODE_OAUTH_TOKEN, from `claude setup-token`) where you run rclaude, keep some on the gateway with rclaude model add, or have it offer its own (models.profiles of its configuration)',
    )
  const { verdict, detail } = await checkAccess(context, access)
  if (verdict === 'refused')
    throw new RclaudeError(
      'model_auth_refused',
      `${detail}: mend the model profile "${access.profile?.name}" of ${access.from === 'user' ? 'yours with rclaude model add' : 'the gateway'}; nothing was launched`,
    )
}

async function checkDisk(context: TaskContext): Promise<void> {
  const disk = await statfs(context.workspaces.directory)
  const free = disk.bavail * disk.bsize
  const needed = context.config.limits.minFreeDisk
  if (free < needed)
    throw new RclaudeError(
      'disk_full',
      `the gateway's disk has ${formatBytes(free)} free, new tasks need ${formatBytes(needed)} (limits.minFreeDisk): delete old tasks with rclaude prune or rclaude rm`,
    )
}
