/** Clones a repository of somebody else's: with a credential that the one command gets, or with none. */
import { gitProxyError, proxyVariables } from '../../host/proxy.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { openAskpass } from './askpass.ts'
import { type CloneSource, cloneFailure, wasRedirected } from './clone-failure.ts'
import type { GitOutput, Transport } from './git.ts'
import { FETCH, type Repositories } from './repositories.ts'

export interface CloneOptions {
  /** The agent's own environment: how this machine reaches the world. */
  own: NodeJS.ProcessEnv
  signal?: AbortSignal | undefined
}

/** @throws {RclaudeError} `unavailable` with the reason and what helps */
export async function cloneInto(
  repositories: Repositories,
  ref: string,
  source: CloneSource,
  options: CloneOptions,
): Promise<void> {
  let cloned = await fetchFrom(repositories, ref, source, options)
  // Some services redirect `project` to `project.git`: the one redirect that is known to lead to the same place.
  if (source.credential !== undefined && wasRedirected(cloned) && !source.url.endsWith('.git'))
    cloned = await fetchFrom(repositories, ref, { ...source, url: `${source.url.replace(/\/+$/, '')}.git` }, options)
  if (cloned.code === 0) return
  const byProxy = /^https?:/.test(source.url) ? gitProxyError(source.url, options.own, cloned.stderr) : undefined
  throw new RclaudeError(
    'unavailable',
    byProxy === undefined
      ? cloneFailure(source, cloned.stderr)
      : `${source.ref ?? 'HEAD'} of ${source.url} could not be cloned: ${byProxy.message}`,
  )
}

async function fetchFrom(
  repositories: Repositories,
  ref: string,
  source: CloneSource,
  { own, signal }: CloneOptions,
): Promise<GitOutput> {
  const { url, credential, depth } = source
  const args = [...FETCH, `--depth=${depth}`, url, `+${source.ref ?? 'HEAD'}:${ref}`]
  const answers = [1, 128]
  if (credential === undefined) {
    const transports: Transport[] = ['http', 'https', 'file']
    return repositories.daemon(args, { env: networkEnvironment(own), transports, answers, signal })
  }
  await using askpass = await openAskpass(repositories.state, url, credential)
  const { options } = askpass
  const transports: Transport[] = ['http', 'https']
  const env = { ...networkEnvironment(own), ...options.env }
  return await repositories.daemon(args, { ...options, env, transports, answers, signal })
}

/** For git's curl, which knows these itself. */
function networkEnvironment(own: NodeJS.ProcessEnv): Record<string, string> {
  const authorities = own.GIT_SSL_CAINFO || own.SSL_CERT_FILE
  return {
    ...proxyVariables(own),
    ...(authorities && { GIT_SSL_CAINFO: authorities, GIT_PROXY_SSL_CAINFO: authorities }),
  }
}
