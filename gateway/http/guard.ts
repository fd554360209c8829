/**
 * What every request must pass before anything else looks at it. `authorize()` must see exactly the path that is
 * forwarded, so a path that two parsers could read differently is refused; and a browser that was lured here by another
 * site's name or page is turned away.
 */
import type { IncomingMessage } from 'node:http'
import { RclaudeError } from '../../protocol/errors.ts'
import { routes } from '../../protocol/routes.ts'

/** A load balancer asks for these by the machine's address, and a page that reads them learns nothing. */
const PROBES: ReadonlySet<string> = new Set([routes.health.path, routes.ready.path])
/** Longest path with query. Node caps the whole header anyway. */
const MAX_TARGET = 8_192

export interface GuardOptions {
  /** Lower-case host names, without port. */
  hosts: ReadonlySet<string>
  /** Lower-case origins such as `https://rclaude.example.org`. */
  origins: ReadonlySet<string>
}

/** @throws RclaudeError `invalid` or `forbidden` */
export function guard(request: IncomingMessage, options: GuardOptions): void {
  checkTarget(request.url ?? '')
  if (!PROBES.has(request.url ?? '')) checkHost(request.headers.host, options.hosts)
  const { origin } = request.headers
  if (origin !== undefined && !options.origins.has(origin.toLowerCase()))
    throw new RclaudeError(
      'forbidden',
      `requests from pages of ${origin.slice(0, 100)} are not allowed (listen.origins)`,
    )
}

export function checkTarget(target: string): void {
  const refuse = (why: string): never => {
    throw new RclaudeError('invalid', `the request's path ${why}`)
  }
  if (!target.startsWith('/') || target.startsWith('//')) refuse('must begin with one slash')
  if (target.length > MAX_TARGET) refuse(`is longer than ${MAX_TARGET} characters`)
  const [path = ''] = target.split('?', 1)
  if (/[^\x21-\x7e]|[\\#]/.test(path)) refuse('holds characters that must be percent-encoded')
  if (/%(2f|5c|00)/i.test(path)) refuse('holds an encoded slash, backslash or NUL')
  if (/%(?![0-9a-f]{2})/i.test(path)) refuse('holds a broken percent-encoding')
  const isDots = (segment: string) => /^\.{1,2}$/.test(segment.replace(/%2e/gi, '.'))
  if (path.split('/').some(isDots)) refuse('holds "." or ".."')
}

/** Stops DNS rebinding: a page of another name that resolves to us names itself here. */
function checkHost(host: string | undefined, allowed: ReadonlySet<string>): void {
  const name = /^(\[[0-9a-f:.]+\]|[^:]*)(:\d+)?$/i.exec(host ?? '')?.[1]?.toLowerCase()
  if (name === undefined || !allowed.has(name))
    throw new RclaudeError(
      'forbidden',
      `this gateway does not answer to the host name "${String(host).slice(0, 100)}" (listen.hosts)`,
    )
}
