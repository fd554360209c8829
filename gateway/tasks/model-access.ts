/**
 * How a task reaches its model. What it brings itself goes first, then the profile that it names or its owner's default, then
 * the gateway's. Looked at twice: before the task is let in, and when the agent is told, so that no secret of a profile is
 * copied into a task.
 */
import { createHash } from 'node:crypto'
import type { GatewayConfig } from '../../protocol/config.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import {
  CLAUDE_CREDENTIALS,
  checkModelAccess,
  type ModelCheck,
  type ModelSettings,
  modelAddress,
  modelEnvironment,
  profileFault,
} from '../../protocol/model.ts'
import type { Secrets, TaskSpec } from '../../protocol/task.ts'
import { Hidden } from '../auth/vault.ts'
import type { StoredModel } from '../store/store.ts'
import type { TaskContext } from './context.ts'

const CLAUDE_PLATFORMS = ['CLAUDE_CODE_USE_BEDROCK', 'CLAUDE_CODE_USE_VERTEX'] as const

/** Credentials, and what chooses between them. */
export const isModelVariable = (name: string): boolean =>
  [...CLAUDE_CREDENTIALS, ...CLAUDE_PLATFORMS].some((one) => one === name)

export interface ModelAccess {
  from: 'task' | 'user' | 'gateway'
  /** Absent for what is only passed on. */
  profile?: { name: string; settings: ModelSettings }
  env: Record<string, string>
  secrets: Secrets
  model?: string | undefined
}

const NOTHING = { env: {}, secrets: {} }

/**
 * @param secrets those that the task brings
 * @returns undefined when there is no way to a model at all
 * @throws {RclaudeError} `invalid` for a profile that there is not
 */
export function modelAccess(
  context: TaskContext,
  owner: string,
  spec: Pick<TaskSpec, 'agent' | 'env' | 'modelProfile'>,
  secrets: Secrets,
): ModelAccess | undefined {
  if (spec.agent !== 'claude') return { from: 'task', ...NOTHING }
  if (spec.modelProfile !== undefined) return named(context, owner, spec.modelProfile)
  const has = (name: string) => name in secrets || name in spec.env
  if (CLAUDE_CREDENTIALS.some(has) || CLAUDE_PLATFORMS.some(has)) return { from: 'task', ...NOTHING }
  const way = defaultWay(context, owner)
  switch (way?.kind) {
    case 'user':
      return ofUser(context, way.model)
    case 'gateway':
      return ofGateway(context, way.name)
    case 'passed':
      return { from: 'gateway', env: {}, secrets: way.secrets }
    case undefined:
      return undefined
    default:
      return way satisfies never
  }
}

/** Whether a task that brings nothing reaches a model. Names say so: no secret is opened. */
export const hasModelAccess = (context: TaskContext, owner: string): boolean => defaultWay(context, owner) !== undefined

type DefaultWay =
  | { kind: 'user'; model: StoredModel }
  | { kind: 'gateway'; name: string }
  | { kind: 'passed'; secrets: Secrets }

function defaultWay(context: TaskContext, owner: string): DefaultWay | undefined {
  const model = context.store.listModels(owner).find(({ isDefault }) => isDefault)
  if (model !== undefined) return { kind: 'user', model }
  const { default: name, profiles } = context.config.models
  if (name !== undefined) return profiles[name] === undefined ? undefined : { kind: 'gateway', name }
  const secrets = context.gatewayEnvironment('claude')
  return Object.keys(secrets).some(isModelVariable) ? { kind: 'passed', secrets } : undefined
}

function named(context: TaskContext, owner: string, name: string): ModelAccess {
  const own = context.store.listModels(owner)
  const found = own.find((model) => model.name === name)
  if (found !== undefined) return ofUser(context, found)
  const access = ofGateway(context, name)
  if (access !== undefined) return access
  const names = [...own.map((model) => model.name), ...Object.keys(context.config.models.profiles)]
  throw new RclaudeError(
    'invalid',
    `there is no model profile "${name}"; there is: ${names.join(', ') || 'none'} (make one with rclaude model add)`,
  )
}

export function ofUser(context: TaskContext, model: StoredModel): ModelAccess {
  const { owner, name, settings, sealed } = model
  const secrets = sealed === undefined ? {} : Hidden.parse(context.vault.open(modelSeal(owner, name), sealed)).secrets
  return { from: 'user', profile: { name, settings }, env: modelEnvironment(settings), secrets, model: settings.model }
}

export function ofGateway(context: TaskContext, name: string): ModelAccess | undefined {
  const found = context.config.models.profiles[name]
  if (found === undefined) return undefined
  const { secrets: names, ...settings } = found
  const secrets = context.gatewaySecrets(names)
  return {
    from: 'gateway',
    profile: { name, settings },
    env: modelEnvironment(settings),
    secrets,
    model: settings.model,
  }
}

/** @throws {RclaudeError} `invalid` when the configuration offers what cannot work */
export function checkModels(config: GatewayConfig, has: (variable: string) => boolean): void {
  const { profiles, default: chosen } = config.models
  if (chosen !== undefined && profiles[chosen] === undefined)
    throw new RclaudeError('invalid', `models.default is "${chosen}", which models.profiles does not have`)
  for (const [name, { secrets, ...settings }] of Object.entries(profiles)) {
    const missing = secrets.find((secret) => !has(secret))
    const fault =
      profileFault(settings, secrets) ??
      (missing === undefined ? undefined : `${missing} is not in the gateway's environment`)
    if (fault !== undefined) throw new RclaudeError('invalid', `models.profiles.${name}: ${fault}`)
  }
}

/** What binds a sealed secret to its place. */
export const modelSeal = (owner: string, name: string): string => `model/${owner}/${name}`

/** An answer is good for so long; tasks that are made in between ask nobody. */
const REMEMBERED_MS = 60_000
const MAX_REMEMBERED = 1_000
const remembered = new Map<string, { at: number; check: Promise<ModelCheck> }>()

/**
 * Only servers that the gateway's own configuration names, and Anthropic's, are asked: else a member could have the gateway
 * call addresses inside its network.
 */
export function checkAccess(context: TaskContext, access: ModelAccess): Promise<ModelCheck> {
  const { profile, secrets } = access
  if (profile === undefined || (access.from !== 'gateway' && profile.settings.baseUrl !== undefined))
    return Promise.resolve({ verdict: 'unknown', detail: 'not tried out' })
  const key = createHash('sha256')
    .update(JSON.stringify([profile.settings, secrets]))
    .digest('hex')
  const known = remembered.get(key)
  if (known !== undefined && Date.now() - known.at < REMEMBERED_MS) return known.check
  const signal = AbortSignal.timeout(context.config.models.checkTimeout * 1_000)
  const check = checkModelAccess(profile.settings, secrets, {
    fetch: context.fetchFor(modelAddress(profile.settings)),
    signal,
  })
  if (remembered.size >= MAX_REMEMBERED) remembered.clear()
  remembered.set(key, { at: Date.now(), check })
  return check
}
