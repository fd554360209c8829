/** What a launcher was asked, as it is kept until there is a placement: sealed, since it holds the join code. */
import type { LaunchSpec } from '../launchers/launcher.ts'
import type { Launch } from '../store/store.ts'
import type { TaskContext } from './context.ts'

export interface Request {
  spec: LaunchSpec
  /** The launcher's own note; see `LaunchOptions.keep`. */
  kept: unknown
}

export const sealRequest = ({ vault }: Pick<TaskContext, 'vault'>, request: Request): Buffer =>
  vault.seal(request.spec.launchId, request)

/** Undefined for a launch of a gateway that kept none. */
export function openRequest({ vault }: Pick<TaskContext, 'vault'>, launch: Launch): Request | undefined {
  if (launch.request === undefined) return undefined
  const { spec, kept } = vault.open(launch.launchId, launch.request) as Request
  return { spec, kept }
}
