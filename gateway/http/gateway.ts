/** What the gateway says of itself. */
import { RclaudeError } from '../../protocol/errors.ts'
import { openApiDocument } from '../../protocol/openapi.ts'
import { AGENTS } from '../../protocol/task.ts'
import { GATEWAY_CAPABILITIES, PROTOCOL_OLDEST, PROTOCOL_VERSION } from '../../protocol/version.ts'
import { hasModelAccess } from '../tasks/model-access.ts'
import { surveyPlacements } from '../tasks/placements.ts'
import { type Deps, type Handlers, principalOf } from './context.ts'

export const gatewayHandlers: Pick<
  Handlers,
  'health' | 'ready' | 'openapi' | 'metrics' | 'info' | 'hold' | 'confirmRestore' | 'me'
> = {
  health: ({ c }) => c.json({ status: 'ok' }),
  ready: ({ c, deps }) => {
    if (!deps.isReady())
      throw new RclaudeError('unavailable', 'the gateway is starting or stopping', { retryAfterSeconds: 1 })
    return c.json({ status: 'ready' })
  },
  openapi: ({ c, deps }) => c.json(openApiDocument(deps.version)),
  metrics: async ({ c, deps }) =>
    c.body(await deps.metrics.render(), 200, { 'content-type': deps.metrics.contentType }),
  info: (call) => {
    const { c, deps } = call
    const { user } = principalOf(call)
    return c.json({
      gatewayId: deps.store.gatewayId,
      generation: deps.hold.generation(),
      ...(deps.hold.reason() && { held: deps.hold.reason() }),
      version: deps.version,
      protocol: { oldest: PROTOCOL_OLDEST, newest: PROTOCOL_VERSION },
      capabilities: [...GATEWAY_CAPABILITIES],
      launchers: [...deps.launchers.values()].map(({ name, isolation, offers }) => ({ name, isolation, offers })),
      defaultLauncher: deps.config.launchers.default,
      modelCredentials: AGENTS.filter((agent) => agent === 'claude' && hasModelAccess(deps, user)),
      limits: numbersOf(deps.config.limits),
    })
  },
  hold: async ({ c, deps }) => c.json({ held: deps.hold.reason(), placements: await surveyPlacements(deps) }),
  confirmRestore: ({ c, deps }) => {
    deps.hold.confirm()
    deps.wake()
    deps.log.warn({ generation: deps.hold.generation() }, 'confirmed: this gateway commands its machines from now on')
    return c.json({ generation: deps.hold.generation() })
  },
  me: (call) => {
    const { user, role, tokenId, tokenName, scope, expiresAtMs } = principalOf(call)
    const expiresAt = expiresAtMs === undefined ? undefined : new Date(expiresAtMs).toISOString()
    return call.c.json({
      user,
      role,
      tokenId,
      tokenName,
      ...(scope && { scope: [...scope] }),
      ...(expiresAt && { expiresAt }),
    })
  },
}

/** `limits.users` is for those it names: GET /v1/limits. */
function numbersOf({ users: _, ...limits }: Deps['config']['limits']): Omit<Deps['config']['limits'], 'users'> {
  return limits
}
