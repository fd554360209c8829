/** Users of a gateway, each by a token of its own. */
import type { Role } from '../../protocol/route.ts'
import { routes } from '../../protocol/routes.ts'
import type { World } from './world.ts'

export const tokenFor = async (world: World, user: string, role: Role = 'member'): Promise<string> =>
  (await world.api().call(routes.createToken, { body: { name: user, user, role } })).secret
