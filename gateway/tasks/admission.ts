/** What is looked at before a task is let in: its launcher, its model credentials, the gateway's disk. */
import { statfs } from 'node:fs/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import { CLAUDE_CREDENTIALS } from '../../protocol/model.ts'
import type { Secrets, TaskSpec } from '../../protocol/task.ts'
import { formatBytes } from '../../protocol/units.ts'
import type { Launcher } from '../launchers/launcher.ts'
import type { TaskContext } from './context.ts'
import { checkAccess, modelAccess } from './model-access.ts'

/** @throws RclaudeError in words that say what to do */
export async function admit(
  context: TaskContext,
  spec: TaskSpec,
  { owner, secrets }: { owner: string; secrets: Secrets },
): Promise<Launcher> {
  const launcher = launcherOf(context, spec)
  await checkModel(context, owner, spec, secrets)
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
      `the gateway's disk has ${formatBytes(free)} free, new tasks need ${formatBytes(needed)} (limits.minFreeDisk): delete old tasks with rclaude rm`,
    )
}
