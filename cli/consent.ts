/**
 * Where a task is not kept apart from this machine, the user agrees to it once. The answer is remembered; where nobody
 * can be asked, `--unsandboxed` is the answer for that one call.
 */
import { RclaudeError } from '../protocol/errors.ts'
import type { GatewayInfo } from '../protocol/routes.ts'
import { confirm } from './prompt.ts'
import { hasConsented, recordConsent } from './settings.ts'
import { canAsk, type World } from './world.ts'

/** An isolation that only a newer gateway knows is taken for none. */
export function isUnsandboxed(info: Pick<GatewayInfo, 'launchers' | 'defaultLauncher'>, launcher?: string): boolean {
  const name = launcher ?? info.defaultLauncher
  return info.launchers.some((one) => one.name === name && one.isolation !== 'container')
}

/** @throws {RclaudeError} `invalid` when the user declines, or cannot be asked */
export async function requireConsent(world: World, options: { unsandboxed?: boolean }): Promise<void> {
  if (options.unsandboxed === true || (await hasConsented(world))) return
  if (!canAsk(world))
    throw new RclaudeError(
      'invalid',
      'this task would run without a sandbox, as you, on this machine: say --unsandboxed if that is meant (or agree once with rclaude init)',
    )
  world.stderr.write(
    'Tasks of this gateway run as ordinary processes of this machine: as you, with\n' +
      'your files in reach, and without asking before each step. Nothing keeps them\n' +
      'apart. (A gateway with containers would.)\n',
  )
  if (!(await confirm(world, 'Run tasks unsandboxed on this machine?')))
    throw new RclaudeError('invalid', 'not launched: you did not agree to run it without a sandbox')
  await recordConsent(world)
}
