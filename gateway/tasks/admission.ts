/** What is looked at before a task is let in: its launcher, its model credentials, the gateway's disk. */
import { statfs } from 'node:fs/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import type { Secrets, TaskSpec } from '../../protocol/task.ts'
import { formatBytes } from '../../protocol/units.ts'
import type { Launcher } from '../launchers/launcher.ts'
import type { TaskContext } from './context.ts'

/** Any one of these lets Claude Code reach a model. */
export const CLAUDE_CREDENTIALS = ['ANTHROPIC_API_KEY', 'CLAUDE_CODE_OAUTH_TOKEN', 'ANTHROPIC_AUTH_TOKEN'] as const
const CLAUDE_PLATFORMS = ['CLAUDE_CODE_USE_BEDROCK', 'CLAUDE_CODE_USE_VERTEX'] as const

/** @throws RclaudeError in words that say what to do */
export async function admit(context: TaskContext, spec: TaskSpec, secrets: Secrets): Promise<Launcher> {
  const held = context.held()
  if (held !== undefined) throw new RclaudeError('unavailable', held)
  const launcher = launcherOf(context, spec)
  checkCredentials(context, spec, secrets)
  await checkDisk(context)
  return launcher
}

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
      `the gateway's disk has ${formatBytes(free)} free, new tasks need ${formatBytes(needed)} (limits.minFreeDisk): delete old tasks with rclaude rm`,
    )
}
