/** Where things lie, by the XDG base directory specification; on macOS in Application Support unless XDG says otherwise. */
import { join } from 'node:path'
import { variable, type World } from './world.ts'

type Source = Pick<World, 'env' | 'home' | 'platform'>

/** Of the user's choices: login, consent. */
export const configDirectory = (world: Source): string => xdg(world, 'XDG_CONFIG_HOME', '.config')

/** Of what is remembered and may be lost. */
export const stateDirectory = (world: Source): string => xdg(world, 'XDG_STATE_HOME', join('.local', 'state'))

/** Of what is made anew when it is gone. */
export const cacheDirectory = (world: Source): string => {
  const isMac = world.platform === 'darwin' && variable(world, 'XDG_CACHE_HOME') === undefined
  return isMac ? join(world.home, 'Library', 'Caches', 'rclaude') : xdg(world, 'XDG_CACHE_HOME', '.cache')
}

/** Of the local gateway: its database, repositories, log and token. */
export const gatewayDirectory = (world: Source): string =>
  join(xdg(world, 'XDG_DATA_HOME', join('.local', 'share')), 'gateway')

function xdg(world: Source, name: string, fallback: string): string {
  const base = variable(world, name)
  // The specification says that relative paths are to be ignored.
  if (base?.startsWith('/')) return join(base, 'rclaude')
  if (world.platform === 'darwin') return join(world.home, 'Library', 'Application Support', 'rclaude')
  return join(world.home, fallback, 'rclaude')
}
