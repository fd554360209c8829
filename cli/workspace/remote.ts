/**
 * The task's repository on the gateway as a git remote: its URL, and the settings with which git talks to it. The token
 * is bound to the gateway's address and goes through the environment, so it is in no argv and reaches no other server.
 */
import type { GitConfig } from './git.ts'

export interface GatewayRemote {
  /** Base URL of the gateway. */
  gateway: string
  token: string
  taskId: string
}

export function remoteUrl(remote: GatewayRemote): string {
  return `${remote.gateway.replace(/\/+$/, '')}/v1/tasks/${encodeURIComponent(remote.taskId)}/git`
}

export function remoteConfig(remote: GatewayRemote): GitConfig {
  const { origin, protocol } = new URL(remote.gateway)
  const http = `http.${origin}/`
  return [
    [`${http}.extraHeader`, `Authorization: Bearer ${remote.token}`],
    [`${http}.followRedirects`, 'false'],
    [`${http}.proxy`, ''], // the API calls of this program take no proxy either
    ['credential.helper', ''],
    ['protocol.allow', 'never'],
    [`protocol.${protocol.replace(':', '')}.allow`, 'always'],
    ['transfer.fsckObjects', 'true'],
    ...HARMLESS_FLAWS.map((flaw) => [`fetch.fsck.${flaw}`, 'ignore'] as const),
  ]
}

/** Found in old, respectable histories; what hosting services let pass as well. */
const HARMLESS_FLAWS = [
  'badTimezone',
  'zeroPaddedFilemode',
  'missingSpaceBeforeDate',
  'missingSpaceBeforeEmail',
  'missingNameBeforeEmail',
  'missingTaggerEntry',
]
