/**
 * What a browser that was let in holds: a cookie with a secret, whose hash is in the store beside what it is good for. So
 * a restart lets nobody out, and who is in can be told and ended; the token is looked up anew at every request.
 */
import { hashSecret } from '../../auth/tokens.ts'
import type { Store, StoredPreview } from '../../store/store.ts'
import type { PreviewPlace } from './hosts.ts'

const NAME = 'rclaude-preview'
/**
 * `__Host-` makes browsers keep it only with Secure, without Domain, set by nobody but this very host. On plain http, which
 * is *.localhost only, most of them know no such cookie (Safari, Chromium before 140), so it goes without.
 */
const nameOf = (isSecure: boolean): string => (isSecure ? `__Host-${NAME}` : NAME)

export function sessionCookie(secret: string, maxAgeSeconds: number, isSecure: boolean): string {
  const secure = isSecure ? 'Secure; ' : ''
  return `${nameOf(isSecure)}=${secret}; Path=/; ${secure}HttpOnly; SameSite=Lax; Max-Age=${Math.floor(maxAgeSeconds)}`
}

/** @returns undefined when none of the cookies is one, for this preview and now */
export function openSession(
  store: Pick<Store, 'findPreview'>,
  cookies: string | undefined,
  { taskId, port }: PreviewPlace,
  isSecure: boolean,
): StoredPreview | undefined {
  return valuesOf(cookies, nameOf(isSecure))
    .map((secret) => store.findPreview(hashSecret(secret)))
    .find((found) => found?.taskId === taskId && found.port === port && Date.parse(found.expiresAt) > Date.now())
}

/** Of the Cookie header: what the dev server may see of it. */
export function withoutSession(cookies: string | undefined): string | undefined {
  const others = partsOf(cookies).filter((part) => !isOurs(part))
  return others.length === 0 ? undefined : others.join('; ')
}

/** A cookie without a name counts by its value's beginning: browsers send it so. */
export const isOurs = (cookie: string): boolean => new RegExp(`^=?\\s*(__Host-)?${NAME}`, 'i').test(cookie.trim())

const partsOf = (cookies: string | undefined): string[] =>
  (cookies ?? '')
    .split(';')
    .map((part) => part.trim())
    .filter((part) => part !== '')

const valuesOf = (cookies: string | undefined, name: string): string[] =>
  partsOf(cookies).flatMap((part) => (part.startsWith(`${name}=`) ? [part.slice(name.length + 1)] : []))
