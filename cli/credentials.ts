/**
 * Credentials for the model. They are looked at before anything is launched, and travel as secrets of the task: stored
 * nowhere here, sealed on the gateway until the task's agent has them.
 */
import { RclaudeError } from '../protocol/errors.ts'
import type { GatewayInfo } from '../protocol/routes.ts'
import type { AgentName } from '../protocol/task.ts'
import { variable, type World } from './world.ts'

/** Any one of these lets Claude Code reach a model. */
export const CREDENTIALS = ['ANTHROPIC_API_KEY', 'CLAUDE_CODE_OAUTH_TOKEN', 'ANTHROPIC_AUTH_TOKEN'] as const
/** Goes along when it is set: not secret, and the credentials may be worth nothing without it. */
const ADDRESS = 'ANTHROPIC_BASE_URL'

export interface ModelAccess {
  secrets: Record<string, string>
  env: Record<string, string>
}

/** What this environment has to give; empty when it has nothing. */
export function modelAccess(world: Pick<World, 'env'>): ModelAccess {
  const secrets = pick(world, CREDENTIALS)
  return { secrets, env: pick(world, [ADDRESS]) }
}

/**
 * @param given secrets that the user names anyway
 * @throws {RclaudeError} `model_auth_missing` with the sentence that fixes it
 */
export function requireModelAccess(
  world: Pick<World, 'env'>,
  agent: AgentName,
  info: Pick<GatewayInfo, 'modelCredentials'>,
  given: Record<string, string> = {},
): ModelAccess {
  if (agent !== 'claude') return { secrets: {}, env: {} }
  const access = modelAccess(world)
  const has = (names: Record<string, string>) => CREDENTIALS.some((name) => name in names)
  if (has(access.secrets) || has(given) || info.modelCredentials.includes('claude')) return access
  throw new RclaudeError(
    'model_auth_missing',
    'Claude Code has no credentials: set ANTHROPIC_API_KEY, or CLAUDE_CODE_OAUTH_TOKEN (which `claude setup-token` prints), and run this again; nothing was launched',
  )
}

function pick(world: Pick<World, 'env'>, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = variable(world, name)
      return value === undefined ? [] : [[name, value]]
    }),
  )
}
