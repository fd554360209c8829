/**
 * Headers between a browser and a dev server. The dev server sees what it would see through `rclaude forward`: a browser
 * on its own machine, at http://localhost:PORT; so its checks of Host and Origin pass, and no header contradicts another.
 * What is ours, the session and tokens of rclaude, it never sees, and it cannot set.
 */
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import { RclaudeError } from '../../../protocol/errors.ts'
import { HOP_BY_HOP, keep } from '../../../tunnel/forwarding.ts'
import { TOKEN_PREFIX } from '../../auth/tokens.ts'
import { isOurs, withoutSession } from './session.ts'

const NOT_TO_SERVER = new Set([
  ...HOP_BY_HOP,
  'host',
  'origin',
  'referer',
  'cookie',
  'expect',
  'forwarded',
  'via',
  'x-real-ip',
  'content-length',
])
const NOT_FROM_SERVER = new Set([
  ...HOP_BY_HOP,
  'set-cookie',
  'location',
  'clear-site-data', // it would take our cookie along
  'strict-transport-security',
  'alt-svc',
])

/**
 * Only pages of the preview itself, and links to it, may ask it for something: another page's request would carry the
 * browser's cookie where both are of one site.
 * @throws RclaudeError `forbidden`
 */
export function checkCaller({ method, headers }: IncomingMessage): void {
  const { origin } = headers
  const site = headers['sec-fetch-site']
  const isOpaque = origin === 'null' && site === 'same-origin' // a form of a page without referrers
  const isOwn = origin === undefined || isOpaque || hostIn(origin) === headers.host?.toLowerCase()
  const isForeign = site === 'cross-site' || site === 'same-site'
  const isLink =
    (method === 'GET' || method === 'HEAD') &&
    headers['sec-fetch-mode'] === 'navigate' &&
    headers['sec-fetch-dest'] === 'document'
  if (!isOwn || (isForeign && !isLink))
    throw new RclaudeError(
      'forbidden',
      'a preview answers to its own pages and to links, not to pages of other origins',
    )
}

export function toServer(headers: IncomingHttpHeaders, port: number): OutgoingHttpHeaders {
  const own = `http://localhost:${port}`
  const cookie = withoutSession(headers.cookie)
  const referer = headers.referer === undefined ? undefined : refererAt(own, headers)
  return {
    ...keep(
      headers,
      (name) => !NOT_TO_SERVER.has(name) && !/^(x-forwarded-|rclaude-)/.test(name) && !isToken(name, headers),
    ),
    host: `localhost:${port}`,
    ...(headers.origin !== undefined && { origin: headers.origin === 'null' ? 'null' : own }),
    ...(referer !== undefined && { referer }),
    ...(cookie !== undefined && { cookie }),
  }
}

export function fromServer(headers: IncomingHttpHeaders, port: number): OutgoingHttpHeaders {
  const cookies = (headers['set-cookie'] ?? []).flatMap(hostOnly)
  const { location } = headers
  return {
    ...keep(headers, (name) => !NOT_FROM_SERVER.has(name)),
    ...(location !== undefined && { location: locationAt(location, port) }),
    ...(cookies.length > 0 && { 'set-cookie': cookies }),
  }
}

/** An application's own Authorization is its business; a token of rclaude is not. */
const isToken = (name: string, headers: IncomingHttpHeaders): boolean =>
  name === 'authorization' && new RegExp(`\\b${TOKEN_PREFIX}`).test(headers.authorization ?? '')

/** Of this host alone, as every other cookie here; none that looks like ours. */
function hostOnly(cookie: string): string[] {
  if (isOurs(cookie)) return []
  const [pair = '', ...attributes] = cookie.split(';')
  return [[pair, ...attributes.filter((attribute) => !/^\s*domain\s*(=|$)/i.test(attribute))].join(';')]
}

/** To itself by the name that it knows: the browser is to stay here. */
function locationAt(location: string, port: number): string {
  const [, rest] = /^https?:\/\/(?:localhost|127\.0\.0\.1|\[::1\]):(?:\d+)(?=[/?#]|$)(.*)$/is.exec(location) ?? []
  const isOwn = new RegExp(`^https?://[^/?#]*:${port}(?=[/?#]|$)`, 'i').test(location)
  if (rest === undefined || !isOwn) return location
  return rest.startsWith('/') ? `/${rest.replace(/^[/\\]+/, '')}` : `/${rest}`
}

function refererAt(own: string, { referer = '', host }: IncomingHttpHeaders): string | undefined {
  if (hostIn(referer) !== host?.toLowerCase()) return undefined // another site's, which is none of the server's business
  const { pathname, search } = new URL(referer)
  return `${own}${pathname}${search}`
}

function hostIn(url: string): string | undefined {
  try {
    return new URL(url).host
  } catch {
    return undefined
  }
}
