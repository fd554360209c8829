/**
 * The task's repository on the gateway as a git remote: its URL, and the settings with which git talks to it. The token
 * is bound to the gateway's address and goes through the environment, so it is in no argv and reaches no other server.
 */
import { writeAuthorities } from '../../host/authorities.ts'
import { gitProxyUrl, proxyFor } from '../../host/proxy.ts'
import type { GitConfig } from './git.ts'

export interface GatewayRemote {
  /** Base URL of the gateway. */
  gateway: string
  token: string
  taskId: string
  /** Names the proxy that leads to the gateway, if any, and further authorities to trust. */
  env?: NodeJS.ProcessEnv
}

/** Whether a proxy is taken was judged already, and is said by `http.proxy`. */
export const NO_EXEMPTIONS = { no_proxy: '', NO_PROXY: '' }

export function remoteUrl(remote: GatewayRemote): string {
  return `${remote.gateway.replace(/\/+$/, '')}/v1/tasks/${encodeURIComponent(remote.taskId)}/git`
}

/** @param directory for the authorities that git is to trust, when it needs to be told */
export async function remoteConfig(remote: GatewayRemote, directory: string): Promise<GitConfig> {
  const { origin, protocol } = new URL(remote.gateway)
  const http = `http.${origin}/`
  const env = remote.env ?? {}
  const proxy = proxyFor(remote.gateway, env)
  const authorities = await writeAuthorities(directory, env)
  return [
    [`${http}.extraHeader`, `Authorization: Bearer ${remote.token}`],
    [`${http}.followRedirects`, 'false'],
    // Always said: git would read the variables in its own way, and go another way than our API calls.
    [`${http}.proxy`, proxy === undefined ? '' : gitProxyUrl(proxy)],
    ...(authorities === undefined ? [] : authoritiesConfig(http, authorities)),
    ['credential.helper', ''],
    ['protocol.allow', 'never'],
    [`protocol.${protocol.replace(':', '')}.allow`, 'always'],
    ['transfer.fsckObjects', 'true'],
    ...HARMLESS_FLAWS.map((flaw) => [`fetch.fsck.${flaw}`, 'ignore'] as const),
  ]
}

const authoritiesConfig = (http: string, file: string): GitConfig => [
  [`${http}.sslCAInfo`, file],
  ['http.proxySSLCAInfo', file],
]

/** Found in old, respectable histories; what hosting services let pass as well. */
const HARMLESS_FLAWS = [
  'badTimezone',
  'zeroPaddedFilemode',
  'missingSpaceBeforeDate',
  'missingSpaceBeforeEmail',
  'missingNameBeforeEmail',
  'missingTaggerEntry',
]
