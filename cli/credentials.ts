/**
 * Credentials for the model, as the user's environment has them for Claude Code: a key, a token, Bedrock or Vertex. They are
 * looked at before anything is launched, and travel as secrets of the task: stored nowhere here, sealed on the gateway until
 * the task's agent has them.
 */
import { readFile } from 'node:fs/promises'
import { RclaudeError } from '../protocol/errors.ts'
import {
  CLAUDE_CREDENTIALS,
  checkModelAccess,
  GOOGLE_JSON,
  type ModelSettings,
  modelAddress,
  modelEnvironment,
} from '../protocol/model.ts'
import type { GatewayInfo } from '../protocol/routes.ts'
import type { AgentName } from '../protocol/task.ts'
import { fetchFor } from './network.ts'
import { variable, type World } from './world.ts'

type Source = Pick<World, 'env'>

export interface FoundProfile {
  settings: ModelSettings
  secrets: Record<string, string>
}

export interface ModelAccess {
  secrets: Record<string, string>
  env: Record<string, string>
  /** The model's server is being asked: rejects with `model_auth_refused`. Whoever has the access awaits it before a task is made. */
  accepted: Promise<void>
}

/** What the environment has to give, in the order in which Claude Code prefers it; undefined when it has nothing. */
export async function profileFromEnvironment(world: Source): Promise<FoundProfile | undefined> {
  const isOn = (name: string) => /^(1|true|yes|on)$/i.test(variable(world, name) ?? '')
  if (isOn('CLAUDE_CODE_USE_BEDROCK')) return bedrock(world)
  if (isOn('CLAUDE_CODE_USE_VERTEX')) return vertex(world)
  const baseUrl = variable(world, 'ANTHROPIC_BASE_URL')
  const at = { ...(baseUrl !== undefined && { baseUrl }) }
  const secrets = pick(world, CLAUDE_CREDENTIALS)
  if (secrets.ANTHROPIC_AUTH_TOKEN !== undefined)
    return { settings: { kind: 'bearer', ...at }, secrets: pick(world, ['ANTHROPIC_AUTH_TOKEN']) }
  if (secrets.ANTHROPIC_API_KEY !== undefined)
    return { settings: { kind: 'anthropic', ...at }, secrets: pick(world, ['ANTHROPIC_API_KEY']) }
  if (secrets.CLAUDE_CODE_OAUTH_TOKEN !== undefined)
    return { settings: { kind: 'oauth', ...at }, secrets: pick(world, ['CLAUDE_CODE_OAUTH_TOKEN']) }
  return undefined
}

function bedrock(world: Source): FoundProfile {
  const region = variable(world, 'AWS_REGION') ?? variable(world, 'AWS_DEFAULT_REGION')
  if (region === undefined)
    throw new RclaudeError(
      'invalid',
      'CLAUDE_CODE_USE_BEDROCK is set and AWS_REGION is not: set it to the region of your models',
    )
  const bearer = pick(world, ['AWS_BEARER_TOKEN_BEDROCK'])
  const keys = pick(world, ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'])
  return { settings: { kind: 'bedrock', region }, secrets: 'AWS_BEARER_TOKEN_BEDROCK' in bearer ? bearer : keys }
}

async function vertex(world: Source): Promise<FoundProfile> {
  const region = variable(world, 'CLOUD_ML_REGION')
  const project = variable(world, 'ANTHROPIC_VERTEX_PROJECT_ID')
  if (region === undefined || project === undefined)
    throw new RclaudeError(
      'invalid',
      `CLAUDE_CODE_USE_VERTEX is set and ${region === undefined ? 'CLOUD_ML_REGION' : 'ANTHROPIC_VERTEX_PROJECT_ID'} is not`,
    )
  const file = variable(world, 'GOOGLE_APPLICATION_CREDENTIALS')
  if (file === undefined) return { settings: { kind: 'vertex', region, project }, secrets: {} }
  try {
    return { settings: { kind: 'vertex', region, project }, secrets: { [GOOGLE_JSON]: await readFile(file, 'utf8') } }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new RclaudeError('invalid', `GOOGLE_APPLICATION_CREDENTIALS: cannot read ${file} (${code})`)
  }
}

export interface Needs {
  agent: AgentName
  /** --model-profile: then nothing of this environment goes along. */
  modelProfile?: string | undefined
  /** Secrets that the user names anyway. */
  given?: Record<string, string>
}

/** @throws {RclaudeError} `model_auth_missing` with the sentence that fixes it */
export async function requireModelAccess(
  world: Source,
  info: Pick<GatewayInfo, 'modelCredentials'>,
  { agent, modelProfile, given = {} }: Needs,
): Promise<ModelAccess> {
  const accepted = Promise.resolve()
  if (agent !== 'claude' || modelProfile !== undefined) return { secrets: {}, env: {}, accepted }
  const found = await profileFromEnvironment(world)
  if (found !== undefined) {
    const asked = refuseRefused(world, found)
    asked.catch(() => {}) // it may be known before anybody waits for it
    return { secrets: found.secrets, env: modelEnvironment(found.settings), accepted: asked }
  }
  const env = pick(world, ['ANTHROPIC_BASE_URL'])
  if (CLAUDE_CREDENTIALS.some((name) => name in given)) return { secrets: {}, env, accepted }
  if (info.modelCredentials.includes('claude')) return { secrets: {}, env: {}, accepted }
  throw new RclaudeError(
    'model_auth_missing',
    'Claude Code has no credentials: set ANTHROPIC_API_KEY, or CLAUDE_CODE_OAUTH_TOKEN (which `claude setup-token` prints), and run this again (or keep some on the gateway with rclaude model add); nothing was launched',
  )
}

/** Nobody waits longer than this for a model server that says nothing. */
const CHECK_LIMIT_MS = 3_000

async function refuseRefused(world: Source, { settings, secrets }: FoundProfile): Promise<void> {
  const { verdict, detail } = await checkModelAccess(settings, secrets, {
    fetch: fetchFor(world, modelAddress(settings)),
    signal: AbortSignal.timeout(CHECK_LIMIT_MS),
  })
  if (verdict === 'refused')
    throw new RclaudeError(
      'model_auth_refused',
      `${detail}: ${Object.keys(secrets).join(', ')} of your environment may be expired or revoked; nothing was launched`,
    )
}

function pick(world: Source, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = variable(world, name)
      return value === undefined ? [] : [[name, value]]
    }),
  )
}
