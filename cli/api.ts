/**
 * Finds the gateway and the token, in this order: --gateway or --context, RCLAUDE_GATEWAY, RCLAUDE_CONTEXT, the current
 * context, the local gateway. A token is only ever sent to the gateway that it was given for.
 */
import { readFile } from 'node:fs/promises'
import type { Client } from '../protocol/client.ts'
import { RclaudeError } from '../protocol/errors.ts'
import { contextNames, currentContext, LOCAL, readContext } from './contexts.ts'
import { watchExpiry } from './expiry.ts'
import { ensureLocalGateway, findLocalGateway, hasLocalData } from './local-gateway.ts'
import { clientFor } from './network.ts'
import { MAX_WAIT_SECONDS, patientFetch } from './patience.ts'
import { variable, type World } from './world.ts'

/** Options that every command takes. */
export interface Globals {
  json?: boolean
  gateway?: string
  /** Name of a context. */
  context?: string
  tokenFile?: string
}

export interface Gateway {
  client: Client
  url: string
  token: string
  /** For people: `flag`, `environment`, `context work`, `local`. */
  from: string
}

export interface ConnectOptions {
  /**
   * A local gateway is started when none is configured and none runs: `always`, only when there is one to be started
   * `again`, or `never`. RCLAUDE_NO_START=1 makes it `never`.
   */
  start?: 'always' | 'again' | 'never'
  /** What is said to the user on the way: a gateway was started, or asks to wait. */
  say?: (message: string) => void
  /** How long a request waits when the gateway says to come again later; 0 for not at all. */
  maxWaitSeconds?: number
}

export async function connect(world: World, globals: Globals, options: ConnectOptions = {}): Promise<Gateway> {
  const say = options.say ?? (() => {})
  const gateway = (url: string, token: string, from: string): Gateway => ({
    client: clientFor(world, url, token, (plain) =>
      patientFetch({ maxWaitSeconds: options.maxWaitSeconds ?? MAX_WAIT_SECONDS, say }, watchExpiry(say, plain)),
    ),
    url,
    token,
    from,
  })
  const chosen = await chooseGateway(world, globals)
  const explicitToken = await tokenGiven(world, globals)
  if (chosen.url !== undefined) {
    const { url } = chosen
    const token = explicitToken ?? (await tokenKnownFor(world, url))
    if (token === undefined)
      throw new RclaudeError(
        'unauthenticated',
        `no token for ${url}: set RCLAUDE_TOKEN, give --token-file, or run rclaude login ${url}`,
      )
    return gateway(url, token, chosen.from === 'gateway-flag' ? 'flag' : 'environment')
  }
  // A token from the environment belongs to the gateway that is in effect there, not to one that is named for this call.
  const tokenForName = chosen.from === 'context-flag' && globals.tokenFile === undefined ? undefined : explicitToken
  if (chosen.name === LOCAL) {
    const local = await localGateway(world, options)
    return gateway(local.url, tokenForName ?? local.token, 'local')
  }
  const context = await readContext(world, chosen.name)
  return gateway(context.url, tokenForName ?? context.token, `context ${chosen.name}`)
}

/** Which gateway is meant, before anything is asked of it. A name is that of a context. */
export type Chosen =
  | { url: string; name?: undefined; from: 'gateway-flag' | 'gateway-variable' }
  | { url?: undefined; name: string; from: 'context-flag' | 'context-variable' | 'current' }

export async function chooseGateway(world: World, globals: Globals): Promise<Chosen> {
  if (globals.gateway !== undefined && globals.context !== undefined)
    throw new RclaudeError('invalid', '--gateway and --context both say which gateway: give one of them')
  if (globals.gateway !== undefined) return { url: gatewayUrl(globals.gateway), from: 'gateway-flag' }
  if (globals.context !== undefined) return { name: globals.context, from: 'context-flag' }
  const url = variable(world, 'RCLAUDE_GATEWAY')
  if (url !== undefined) return { url: gatewayUrl(url), from: 'gateway-variable' }
  const name = variable(world, 'RCLAUDE_CONTEXT')
  if (name !== undefined) return { name, from: 'context-variable' }
  return { name: (await currentContext(world)) ?? LOCAL, from: 'current' }
}

async function localGateway(world: World, options: ConnectOptions) {
  const start = variable(world, 'RCLAUDE_NO_START') === undefined ? (options.start ?? 'again') : 'never'
  if (start === 'always' || (start === 'again' && (await hasLocalData(world)))) {
    const { gateway: local, started } = await ensureLocalGateway(world)
    if (started) options.say?.(`started a local gateway at ${local.url} (data in ${local.directory})`)
    return local
  }
  const found = await findLocalGateway(world)
  if (found !== undefined) return found
  throw new RclaudeError(
    'unavailable',
    'no gateway: `rclaude run` and `rclaude gateway start` start a local one, `rclaude login URL` uses one elsewhere',
  )
}

/** --token-file, then RCLAUDE_TOKEN. */
export async function tokenGiven(world: World, globals: Globals): Promise<string | undefined> {
  if (globals.tokenFile === undefined) return variable(world, 'RCLAUDE_TOKEN')?.trim()
  let text: string
  try {
    text = await readFile(globals.tokenFile, 'utf8')
  } catch (error) {
    throw new RclaudeError('invalid', `cannot read the token file: ${(error as Error).message}`)
  }
  if (text.trim() === '') throw new RclaudeError('invalid', `the token file ${globals.tokenFile} is empty`)
  return text.trim()
}

/** The current context comes first; several others for one gateway are several users, of whom nobody was named. */
async function tokenKnownFor(world: World, url: string): Promise<string | undefined> {
  const current = await currentContext(world)
  const found: { name: string; token: string }[] = []
  for (const name of await contextNames(world)) {
    const context = await readContext(world, name).catch(() => undefined)
    if (context?.url === url) found.push({ name, token: context.token })
  }
  const [first, second] = found
  const mine = found.find(({ name }) => name === current) ?? (second === undefined ? first : undefined)
  if (mine !== undefined) return mine.token
  if (first !== undefined)
    throw new RclaudeError(
      'invalid',
      `several contexts are for ${url}: say --context ${found.map(({ name }) => name).join(', or --context ')}`,
    )
  const local = await findLocalGateway(world)
  return local?.url === url ? local.token : undefined
}

/** Without a closing slash. @throws {RclaudeError} for what is no http(s) URL, or one that holds a password */
export function gatewayUrl(text: string): string {
  const url = parseUrl(text)
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    throw new RclaudeError('invalid', `"${text}" is no gateway: expected a URL like https://rclaude.example.com`)
  if (url.username !== '' || url.password !== '')
    throw new RclaudeError('invalid', 'a gateway URL holds no user or password: give the token with --token-file')
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '')
}

function parseUrl(text: string): URL | null {
  try {
    return new URL(text)
  } catch {
    return null
  }
}
