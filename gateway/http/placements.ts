/** What the launchers run, and whether they can. */
import { RclaudeError } from '../../protocol/errors.ts'
import { LaunchId } from '../../protocol/ids.ts'
import { launcherNamed, listForeign, listPlacements, stopPlacement, sweepPlacements } from '../tasks/placements.ts'
import type { Handlers } from './context.ts'

export const placementHandlers: Pick<
  Handlers,
  'listPlacements' | 'stopPlacement' | 'sweepPlacements' | 'diagnoseLauncher'
> = {
  listPlacements: async ({ c, deps, query }) =>
    c.json({
      placements: await listPlacements(deps, query.launcher),
      foreign: query.foreign === undefined ? [] : await listForeign(deps, query.launcher),
    }),
  stopPlacement: async ({ c, deps, query }) => {
    const text = c.req.param('launchId')
    const launchId = LaunchId.safeParse(text)
    if (!launchId.success)
      throw new RclaudeError(
        'invalid',
        `"${String(text).slice(0, 60)}" is no id of a launch; GET /v1/placements has them`,
      )
    return c.json(await stopPlacement(deps, launchId.data, query))
  },
  sweepPlacements: async ({ c, deps, body }) => c.json({ swept: await sweepPlacements(deps, body) }),
  diagnoseLauncher: async ({ c, deps }) => {
    const launcher = launcherNamed(deps, c.req.param('launcher') ?? '')
    if (launcher.diagnose === undefined)
      throw new RclaudeError('invalid', `launcher "${launcher.name}" has nothing to look at: launch a task`)
    return c.json({ findings: await launcher.diagnose() })
  },
}
