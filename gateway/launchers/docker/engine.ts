/** The Docker engine: how it is reached, and what its refusals mean for people. */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type Docker from 'dockerode'
import { RclaudeError } from '../../../protocol/errors.ts'

const DEFAULT_HOST = 'unix:///var/run/docker.sock'
/** A call that the engine only has to look up; starting and pulling take their own time. */
const ANSWER_MS = 30_000

export interface Engine {
  /** `unix:///path`, `tcp://host:port` or `https://host:port`. */
  host: string
  /** Loaded with the first call: a gateway without containers never reads it. */
  client(): Promise<Docker>
}

/**
 * @param host as configured; without, DOCKER_HOST counts, and after it the local socket
 * @throws RclaudeError `invalid` for an address that is no socket and no TCP
 */
export function engineAt(host: string | undefined, env: NodeJS.ProcessEnv): Engine {
  const address = host ?? (env.DOCKER_HOST || DEFAULT_HOST)
  if (!/^(unix:\/\/\/|tcp:\/\/|https?:\/\/)./.test(address))
    throw new RclaudeError(
      'invalid',
      `${host === undefined ? 'DOCKER_HOST' : 'launchers.docker.host'} is ${address}: expected unix:///path, tcp://host:port or https://host:port`,
    )
  let client: Promise<Docker> | undefined
  return {
    host: address,
    client() {
      client ??= connect(address, env)
      return client
    },
  }
}

async function connect(address: string, env: NodeJS.ProcessEnv): Promise<Docker> {
  const { default: Client } = await import('dockerode')
  if (address.startsWith('unix://')) return new Client({ socketPath: address.slice('unix://'.length) })
  const { protocol, hostname, port } = new URL(address)
  const isTls = protocol === 'https:' || Boolean(env.DOCKER_TLS_VERIFY)
  return new Client({
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port) || (isTls ? 2376 : 2375),
    protocol: isTls ? 'https' : 'http',
    ...(isTls && env.DOCKER_CERT_PATH && (await certificates(env.DOCKER_CERT_PATH))),
  })
}

async function certificates(folder: string): Promise<{ ca: string; cert: string; key: string }> {
  const read = (name: string) => readFile(join(folder, name), 'utf8')
  const [ca, cert, key] = await Promise.all([read('ca.pem'), read('cert.pem'), read('key.pem')])
  return { ca, cert, key }
}

/** For calls that take no longer than a look. */
export const soon = (): { abortSignal: AbortSignal } => ({ abortSignal: AbortSignal.timeout(ANSWER_MS) })

/** HTTP status of the engine's refusal; undefined when it did not answer at all. */
export function statusOf(error: unknown): number | undefined {
  const status = (error as { statusCode?: unknown } | undefined)?.statusCode
  return typeof status === 'number' ? status : undefined
}

/** The engine's own words, without those of its client. */
export function wordsOf(error: unknown): string {
  const { json, message } = error as { json?: { message?: unknown }; message?: unknown }
  return String(json?.message ?? message ?? error).trim()
}

/** What a failed call means, for who waits for a task or keeps the gateway. */
export function explain(error: unknown, { host }: Pick<Engine, 'host'>): unknown {
  if (error instanceof RclaudeError || statusOf(error) !== undefined) return error
  const { code, name } = error as NodeJS.ErrnoException
  const path = host.replace(/^unix:\/\//, '')
  if (code === 'EACCES' || code === 'EPERM')
    return new RclaudeError(
      'forbidden',
      `the gateway may not use the Docker engine at ${path}: add its user to the group that owns this socket (usually docker), then restart the gateway`,
      { cause: error },
    )
  if (code === 'ENOENT' || code === 'ECONNREFUSED')
    return new RclaudeError(
      'unavailable',
      `no Docker engine answers at ${host}: start it (systemctl start docker), or name another in launchers.docker.host`,
      { cause: error },
    )
  if (name === 'TimeoutError')
    return new RclaudeError('unavailable', `the Docker engine at ${host} did not answer in time`, { cause: error })
  if (code !== undefined)
    return new RclaudeError('unavailable', `the Docker engine at ${host} cannot be reached: ${wordsOf(error)}`, {
      cause: error,
    })
  return error
}

/** What `docker login` left for this image's registry, as the engine takes it; undefined when there is nothing. */
export async function credentialsFor(image: string, env: NodeJS.ProcessEnv): Promise<{ base64: string } | undefined> {
  const file = join(env.DOCKER_CONFIG || join(env.HOME || homedir(), '.docker'), 'config.json')
  const text = await readFile(file, 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const { auths = {} } = JSON.parse(text) as { auths?: Record<string, { auth?: string; identitytoken?: string }> }
  const registry = registryOf(image)
  const found = auths[registry] ?? auths[`https://${registry}`]
  if (found?.auth === undefined) return undefined
  const [username = '', ...rest] = Buffer.from(found.auth, 'base64').toString().split(':')
  const header = found.identitytoken
    ? { identitytoken: found.identitytoken, serveraddress: registry }
    : { username, password: rest.join(':'), serveraddress: registry }
  return { base64: Buffer.from(JSON.stringify(header)).toString('base64url') }
}

/** The first part is a host when it looks like one, as the Docker CLI has it. */
function registryOf(image: string): string {
  const first = image.split('/')[0] ?? ''
  const isHost = image.includes('/') && (/[.:]/.test(first) || first === 'localhost')
  return isHost ? first : 'https://index.docker.io/v1/'
}
