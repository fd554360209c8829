/** The first administrator's token, in a file of the data folder: whoever can read that folder is the administrator. */
import { existsSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { readIfThere, writeOwnerOnly } from '../host/files.ts'
import { UserName } from '../protocol/routes.ts'
import { hashSecret, makeToken } from './auth/tokens.ts'
import type { Hold } from './hold.ts'
import type { Logger } from './log.ts'
import type { Store, StoredToken } from './store/store.ts'

const fileIn = (dataDirectory: string): string => join(dataDirectory, 'admin-token')

/** Unless an administrator's token is there that is good for something. */
export function makeFirstToken(dataDirectory: string, { store, hold, log }: { store: Store; hold: Hold; log: Logger }) {
  const isValid = ({ role, revokedAt, expiresAt }: StoredToken) =>
    role === 'admin' && revokedAt === undefined && (expiresAt === undefined || Date.parse(expiresAt) > Date.now())
  const file = fileIn(dataDirectory)
  // A backup without the key has no token that anybody could read.
  const isReadable = existsSync(file) || hold.reason()?.kind !== 'restored'
  if (isReadable && store.listTokens().some(isValid)) return
  const { token, secret } = makeToken({ name: 'first', user: firstUser(), role: 'admin' })
  writeOwnerOnly(file, `${secret}\n`) // first: a token that nobody can read locks out
  store.insertToken(token)
  log.info({ file }, 'made the first administrator token')
}

/** Writes the new value of a token over its old one, when that is the one in the file. */
export function keepAdminToken(dataDirectory: string, oldHash: string, secret: string): void {
  const file = fileIn(dataDirectory)
  if (hashSecret(readIfThere(file)?.trim() ?? '') === oldHash) writeOwnerOnly(file, `${secret}\n`)
}

/** Whoever set it up, by the name that this machine knows. */
function firstUser(): string {
  const name = UserName.safeParse(userInfo().username.toLowerCase())
  return name.success ? name.data : 'admin'
}
