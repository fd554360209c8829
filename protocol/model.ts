/**
 * Ways to a model. A *model profile* is one of them with a name: of a user, kept sealed on the gateway, or of the gateway,
 * from its configuration. What a task brings itself goes over its owner's default profile, and that over the gateway's.
 */
import { z } from 'zod'
import { isLoopbackHost } from './loopback.ts'
import { PlainName } from './name.ts'

/** Any one of these lets Claude Code reach a model by itself. */
export const CLAUDE_CREDENTIALS = ['ANTHROPIC_API_KEY', 'CLAUDE_CODE_OAUTH_TOKEN', 'ANTHROPIC_AUTH_TOKEN'] as const
/** The contents of the file that GOOGLE_APPLICATION_CREDENTIALS names; the agent makes a file of them. */
export const GOOGLE_JSON = 'GOOGLE_APPLICATION_CREDENTIALS_JSON'

interface Kind {
  summary: string
  /** Sets of secrets, each of which is enough; an empty one stands for the role of the machine. */
  secrets: readonly (readonly string[])[]
  /** Taken along when it is there. */
  optional?: readonly string[]
  needs: readonly ('region' | 'project')[]
}

/** Variables as Claude Code reads them: https://docs.claude.com/en/docs/claude-code/settings. */
export const MODEL_KINDS = {
  anthropic: { summary: 'an Anthropic key', secrets: [['ANTHROPIC_API_KEY']], needs: [] },
  oauth: {
    summary: 'a Claude subscription, by `claude setup-token`',
    secrets: [['CLAUDE_CODE_OAUTH_TOKEN']],
    needs: [],
  },
  bearer: {
    summary: 'a server that speaks the Anthropic API',
    secrets: [['ANTHROPIC_AUTH_TOKEN']],
    needs: [],
  },
  bedrock: {
    summary: 'AWS Bedrock',
    secrets: [['AWS_BEARER_TOKEN_BEDROCK'], ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'], []],
    optional: ['AWS_SESSION_TOKEN'],
    needs: ['region'],
  },
  vertex: { summary: 'Google Vertex AI', secrets: [[GOOGLE_JSON], []], needs: ['region', 'project'] },
} as const satisfies Record<string, Kind>
export type ModelKind = keyof typeof MODEL_KINDS
export const ModelKind = z.enum(Object.keys(MODEL_KINDS) as [ModelKind, ...ModelKind[]])

export const ModelProfileName = PlainName

export const modelSettings = {
  kind: ModelKind,
  /** Where the Anthropic API is spoken; for `bedrock` and `vertex`, their own addresses. */
  baseUrl: z
    .url({ protocol: /^https?$/ })
    .max(2_000)
    .refine((url) => {
      const { protocol, hostname, username } = new URL(url)
      return (protocol === 'https:' || isLoopbackHost(hostname)) && username === ''
    }, 'expected https:// (or http:// on loopback), without credentials')
    .optional(),
  region: z
    .string()
    .regex(/^[a-z0-9-]{2,40}$/, 'expected a region like eu-central-1')
    .optional(),
  project: z
    .string()
    .regex(/^[a-z0-9:.-]{2,100}$/, 'expected the id of a project')
    .optional(),
  /** For tasks that name no model. */
  model: z.string().min(1).max(200).optional(),
}
export const ModelSettings = z.strictObject(modelSettings)
export type ModelSettings = z.infer<typeof ModelSettings>

const kindOf = (kind: ModelKind): Kind => MODEL_KINDS[kind]

/** What is wrong with such a profile, as a sentence. */
export function profileFault(settings: ModelSettings, secretNames: readonly string[]): string | undefined {
  const { secrets, optional = [], needs } = kindOf(settings.kind)
  const missing = needs.find((key) => settings[key] === undefined)
  if (missing !== undefined) return `kind ${settings.kind} needs ${missing}`
  const known = new Set([...secrets.flat(), ...optional])
  const foreign = secretNames.find((name) => !known.has(name))
  if (foreign !== undefined) return `kind ${settings.kind} has no use for ${foreign}; it takes ${[...known].join(', ')}`
  if (
    secrets.some((set) =>
      set.length === 0 ? secretNames.length === 0 : set.every((name) => secretNames.includes(name)),
    )
  )
    return undefined
  const ways = secrets.filter((set) => set.length > 0).map((set) => set.join(' with '))
  return `kind ${settings.kind} needs ${ways.join(', or ')}`
}

/** The variables that lead Claude Code to it, besides the secrets. */
export function modelEnvironment({ kind, baseUrl, region, project }: ModelSettings): Record<string, string> {
  const given = (values: Record<string, string | undefined>) =>
    Object.fromEntries(Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined))
  switch (kind) {
    case 'anthropic':
    case 'oauth':
    case 'bearer':
      return given({ ANTHROPIC_BASE_URL: baseUrl })
    case 'bedrock':
      return given({ CLAUDE_CODE_USE_BEDROCK: '1', AWS_REGION: region, ANTHROPIC_BEDROCK_BASE_URL: baseUrl })
    case 'vertex':
      return given({
        CLAUDE_CODE_USE_VERTEX: '1',
        CLOUD_ML_REGION: region,
        ANTHROPIC_VERTEX_PROJECT_ID: project,
        ANTHROPIC_VERTEX_BASE_URL: baseUrl,
      })
    default:
      return kind satisfies never
  }
}

export const ModelCheck = z.object({
  /** `unknown` when nobody could be asked, or said neither yes nor no. */
  verdict: z.enum(['accepted', 'refused', 'unknown']),
  detail: z.string(),
})
export type ModelCheck = z.infer<typeof ModelCheck>

const ANTHROPIC_API = 'https://api.anthropic.com'

/** Where `checkModelAccess` asks. */
export const modelAddress = ({ baseUrl }: ModelSettings): string => (baseUrl ?? ANTHROPIC_API).replace(/\/+$/, '')

/**
 * Asks the model's server whether it takes these credentials, with a request that costs nothing. Only a 401 is a no: a server
 * that does not know the path, is in trouble or out of reach is no reason not to try.
 */
export async function checkModelAccess(
  settings: ModelSettings,
  secrets: Record<string, string>,
  options: { fetch: typeof fetch; signal: AbortSignal },
): Promise<ModelCheck> {
  const headers = authentication(settings.kind, secrets)
  if (headers === undefined) return { verdict: 'unknown', detail: `credentials of ${settings.kind} are not tried out` }
  const { host } = new URL(modelAddress(settings))
  try {
    const response = await options.fetch(`${modelAddress(settings)}/v1/models?limit=1`, {
      headers: { ...headers, 'anthropic-version': '2023-06-01' },
      redirect: 'manual', // no other server is to see them
      signal: options.signal,
    })
    await response.body?.cancel()
    if (response.status === 401) return { verdict: 'refused', detail: `${host} refused the credentials (401)` }
    if (response.ok) return { verdict: 'accepted', detail: `${host} accepts the credentials` }
    return { verdict: 'unknown', detail: `${host} answered ${response.status}` }
  } catch (error) {
    const { cause, message } = error as Error & { cause?: { code?: string } }
    return { verdict: 'unknown', detail: `${host} could not be asked (${cause?.code ?? message})` }
  }
}

function authentication(kind: ModelKind, secrets: Record<string, string>): Record<string, string> | undefined {
  if (kind === 'anthropic' && secrets.ANTHROPIC_API_KEY !== undefined) return { 'x-api-key': secrets.ANTHROPIC_API_KEY }
  const token =
    kind === 'oauth' ? secrets.CLAUDE_CODE_OAUTH_TOKEN : kind === 'bearer' ? secrets.ANTHROPIC_AUTH_TOKEN : undefined
  if (token === undefined) return undefined
  return { authorization: `Bearer ${token}`, ...(kind === 'oauth' && { 'anthropic-beta': 'oauth-2025-04-20' }) }
}
