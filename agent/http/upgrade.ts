/** The one `upgrade` listener of the agent: who serves an address is decided by its path. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { RclaudeError } from '../../protocol/errors.ts'
import { type ProblemOptions, refuseUpgrade } from './problem.ts'

export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void

/** Paths that begin with `prefix` are served by `handle`. */
export interface UpgradeRoute {
  prefix: string
  handle: UpgradeHandler
}

/** Every other upgrade is answered with 404. */
export function dispatchUpgrades(routes: readonly UpgradeRoute[], options: ProblemOptions = {}): UpgradeHandler {
  return (request, socket, head) => {
    const [path = ''] = (request.url ?? '').split('?', 1)
    const route = routes.find(({ prefix }) => path.startsWith(prefix))
    if (route !== undefined) return route.handle(request, socket, head)
    refuseUpgrade(socket, new RclaudeError('not_found', `there is no WebSocket at ${path.slice(0, 200)}`), options)
  }
}
