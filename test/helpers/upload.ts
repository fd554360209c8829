/** Delivers a workspace without the CLI: a tar made in memory. */

import { buffer } from 'node:stream/consumers'
import { pack } from 'tar-stream'
import { routes } from '../../protocol/routes.ts'
import type { World } from './world.ts'

export async function uploadFiles(world: World, taskId: string, files: Record<string, string>): Promise<void> {
  const tar = pack()
  for (const [name, content] of Object.entries(files)) tar.entry({ name }, content)
  tar.finalize()
  await world.api().call(routes.putWorkspace, {
    params: { taskId },
    rawBody: await buffer(tar),
    headers: { 'content-type': 'application/x-tar' },
  })
}
