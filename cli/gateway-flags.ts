/** Which gateway is meant, as options for a later call of rclaude by another program. The token stays where it is kept. */
import { resolve } from 'node:path'
import { chooseGateway, type Globals } from './api.ts'
import type { World } from './world.ts'

export async function gatewayFlags(world: World, globals: Globals): Promise<string[]> {
  const chosen = await chooseGateway(world, globals)
  const which = chosen.url === undefined ? ['--context', chosen.name] : ['--gateway', chosen.url]
  const token = globals.tokenFile === undefined ? [] : ['--token-file', resolve(world.cwd, globals.tokenFile)]
  return [...which, ...token]
}
