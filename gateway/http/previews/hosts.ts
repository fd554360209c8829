/**
 * The names of previews: `3000--k3m9x2p7q4rt.localhost`, an origin of its own for each port of each task. What matches is
 * a preview and never the API; nothing else ever is one.
 */
import { isLoopback } from '../../../host/loopback.ts'
import type { GatewayConfig } from '../../../protocol/config.ts'
import { RclaudeError } from '../../../protocol/errors.ts'
import { TaskId } from '../../../protocol/ids.ts'

export interface PreviewPlace {
  taskId: TaskId
  port: number
}

/** @throws RclaudeError `invalid` when browsers would not keep the cookie there */
export function previewDomain(config: Pick<GatewayConfig, 'listen' | 'publicUrl' | 'previews'>): string | undefined {
  const { listen, publicUrl, previews } = config
  const isLocal = isLoopback(listen.host) && (publicUrl === undefined || isLoopback(new URL(publicUrl).hostname))
  const domain = previews.domain ?? (isLocal ? 'localhost' : undefined)
  if (domain !== undefined && !/(^|\.)localhost$/.test(domain) && !publicUrl?.startsWith('https://'))
    throw new RclaudeError(
      'invalid',
      `previews.domain is ${domain}, whose cookies need https: set publicUrl to the https:// address of this gateway`,
    )
  return domain
}

/** @returns undefined for a Host that is none of a preview */
export function placeOf(host: string | undefined, domain: string): PreviewPlace | undefined {
  const name = (host ?? '').toLowerCase().replace(/:\d+$/, '')
  if (!name.endsWith(`.${domain}`)) return undefined
  const [, digits, id] = /^([1-9]\d{0,4})--([a-z0-9]{12})$/.exec(name.slice(0, -domain.length - 1)) ?? []
  const taskId = TaskId.safeParse(`task_${id}`)
  const port = Number(digits)
  return taskId.success && port <= 65_535 ? { taskId: taskId.data, port } : undefined
}

/** @param gatewayUrl whose scheme and port previews share */
export function originOf({ taskId, port }: PreviewPlace, domain: string, gatewayUrl: string): string {
  const { protocol, port: ownPort } = new URL(gatewayUrl)
  return `${protocol}//${port}--${taskId.slice('task_'.length)}.${domain}${ownPort === '' ? '' : `:${ownPort}`}`
}
