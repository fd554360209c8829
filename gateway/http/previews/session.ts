/**
 * What a browser that was let in holds: a cookie that says for which preview, by which token and until when, under a MAC.
 * The gateway keeps nothing, so a restart lets nobody out; every request looks the token up anew, so a revoked one does.
 */
import { timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import { TaskId, TokenId } from '../../../protocol/ids.ts'
import { PortNumber } from '../../../protocol/port.ts'
import type { Vault } from '../../auth/vault.ts'
import type { Store } from '../../store/store.ts'
import type { PreviewPlace } from './hosts.ts'

const NAME = 'rclaude-preview'
/**
 * `__Host-` makes browsers keep it only with Secure, without Domain, set by nobody but this very host. On plain http, which
 * is *.localhost only, most of them know no such cookie (Safari, Chromium before 140), so it goes without.
 */
const nameOf = (isSecure: boolean): string => (isSecure ? `__Host-${NAME}` : NAME)

const Session = z.object({
  taskId: TaskId,
  port: PortNumber,
  tokenId: TokenId,
  /** Tells the token's value, which may be rotated, without being its hash. */
  value: z.string(),
  expiresAtMs: z.number(),
})
type Session = z.infer<typeof Session>

export interface SessionToken {
  tokenId: TokenId
  tokenHash: string
}

export function makeSession(
  vault: Vault,
  { taskId, port }: PreviewPlace,
  { tokenId, tokenHash }: SessionToken,
  expiresAtMs: number,
): string {
  const session: Session = { taskId, port, tokenId, value: printOf(vault, tokenHash), expiresAtMs }
  const text = Buffer.from(JSON.stringify(session)).toString('base64url')
  return `${text}.${macOf(vault, text)}`
}

export function sessionCookie(value: string, maxAgeSeconds: number, isSecure: boolean): string {
  const secure = isSecure ? 'Secure; ' : ''
  return `${nameOf(isSecure)}=${value}; Path=/; ${secure}HttpOnly; SameSite=Lax; Max-Age=${Math.floor(maxAgeSeconds)}`
}

/** @returns the hash of the token that it stands for; undefined when it is none, for another preview, or over */
export function openSession(
  vault: Vault,
  store: Pick<Store, 'getToken'>,
  cookies: string | undefined,
  place: PreviewPlace,
  isSecure: boolean,
): { tokenHash: string; expiresAtMs: number } | undefined {
  for (const value of valuesOf(cookies, nameOf(isSecure))) {
    const session = readSession(vault, value)
    if (session === undefined || session.taskId !== place.taskId || session.port !== place.port) continue
    if (session.expiresAtMs <= Date.now()) continue
    const token = store.getToken(session.tokenId)
    const tokenHash = [token?.hash, token?.previousHash].find(
      (hash) => hash !== undefined && printOf(vault, hash) === session.value,
    )
    if (tokenHash !== undefined) return { tokenHash, expiresAtMs: session.expiresAtMs }
  }
  return undefined
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

function readSession(vault: Vault, value: string): Session | undefined {
  const [text = '', mac = ''] = value.split('.', 2)
  const expected = Buffer.from(macOf(vault, text))
  const given = Buffer.from(mac)
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined
  const session = Session.safeParse(JSON.parse(Buffer.from(text, 'base64url').toString('utf8')))
  return session.success ? session.data : undefined // another release may have said more, or less
}

const macOf = (vault: Vault, text: string): string => vault.fingerprint(`preview session\n${text}`)
const printOf = (vault: Vault, tokenHash: string): string =>
  vault.fingerprint(`preview token\n${tokenHash}`).slice(0, 32)
