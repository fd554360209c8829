/** What is looked at before a task is let in: its launcher, its model credentials, the gateway's disk, its user's limits. */
import { statfs } from 'node:fs/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import type { TokenId } from '../../protocol/ids.ts'
import { nextUtcDayMs } from '../../protocol/limits.ts'
import type { Secrets, TaskSpec } from '../../protocol/task.ts'
import { formatBytes } from '../../protocol/units.ts'
import type { Launcher } from '../launchers/launcher.ts'
import type { TaskContext } from './context.ts'
import { countRoom, LEAST_USD, secondsToMidnight } from './room.ts'

/** Any one of these lets Claude Code reach a model. */
export const CLAUDE_CREDENTIALS = ['ANTHROPIC_API_KEY', 'CLAUDE_CODE_OAUTH_TOKEN', 'ANTHROPIC_AUTH_TOKEN'] as const
const CLAUDE_PLATFORMS = ['CLAUDE_CODE_USE_BEDROCK', 'CLAUDE_CODE_USE_VERTEX'] as const

/** Whose task it will be, and who asks for it. */
export interface Asker {
  owner: string
  tokenId: TokenId | undefined
}

/** @throws RclaudeError in words that say what to do */
export async function admit(context: TaskContext, spec: TaskSpec, secrets: Secrets, asker: Asker): Promise<Launcher> {
  checkQuotas(context, spec, asker)
  const launcher = launcherOf(context, spec)
  checkCredentials(context, spec, secrets)
  await checkDisk(context)
  return launcher
}

/**
 * How many of the user's tasks wait, and what was spent today. Asked again in the same breath as the task is stored:
 * requests that come at once must not pass both.
 */
export function checkQuotas(context: TaskContext, spec: TaskSpec, { owner, tokenId }: Asker): void {
  const { limits } = context.config
  const queued = context.store.countQueued(owner)
  if (queued >= limits.maxQueued)
    throw new RclaudeError(
      'limit',
      `${owner} has ${queued} tasks in the queue, as many as may wait (limits.maxQueued): wait until some have started, or stop some with rclaude stop`,
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
      `the gateway's disk has ${formatBytes(free)} free, new tasks need ${formatBytes(needed)} (limits.minFreeDisk): delete old tasks with rclaude prune or rclaude rm`,
    )
}
