/** Clones a repository of somebody else's: with a credential that the one command gets, or with none. */
import { RclaudeError } from '../../protocol/errors.ts'
import type { RunWorkspace } from '../../protocol/run.ts'
import { openAskpass } from './askpass.ts'
import { cloneFailure, wasRedirected } from './clone-failure.ts'
import type { GitOutput, Transport } from './git.ts'
import { FETCH, type Repositories } from './repositories.ts'

export type CloneSource = Extract<RunWorkspace, { kind: 'repo' }>

/** How this machine reaches the world, which a clone needs as well as the work. */
const PROXIES = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'no_proxy'] as const

/** @throws {RclaudeError} `unavailable` with the reason and what helps */
export async function cloneInto(
  repositories: Repositories,
  ref: string,
  source: CloneSource,
  signal?: AbortSignal,
): Promise<void> {
  let cloned = await fetchFrom(repositories, ref, source, signal)
  // Some services redirect `project` to `project.git`: the one redirect that is known to lead to the same place.
  if (source.credential !== undefined && wasRedirected(cloned) && !source.url.endsWith('.git'))
    cloned = await fetchFrom(repositories, ref, { ...source, url: `${source.url.replace(/\/+$/, '')}.git` }, signal)
  if (cloned.code !== 0) throw new RclaudeError('unavailable', cloneFailure(source, cloned.stderr))
}

async function fetchFrom(
  repositories: Repositories,
  ref: string,
  source: CloneSource,
  signal?: AbortSignal,
): Promise<GitOutput> {
  const { url, credential, depth } = source
  const args = [...FETCH, `--depth=${depth}`, url, `+${source.ref ?? 'HEAD'}:${ref}`]
  const answers = [1, 128]
  if (credential === undefined) {
    const transports: Transport[] = ['http', 'https', 'file']
    return repositories.daemon(args, { env: surroundings(), transports, answers, signal })
  }
  await using askpass = await openAskpass(repositories.state, url, credential)
  const { options } = askpass
  const transports: Transport[] = ['http', 'https']
  const env = { ...surroundings(), ...options.env }
  return await repositories.daemon(args, { ...options, env, transports, answers, signal })
}

function surroundings(): Record<string, string> {
  const { SSL_CERT_FILE: authorities } = process.env
  return Object.fromEntries([
    ...PROXIES.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
    ...(authorities === undefined ? [] : [['GIT_SSL_CAINFO', authorities]]),
  ])
}
