/**
 * Secrets at rest: AES-256-GCM under a key that lies beside the database in a file of its own (0600), so that a copied
 * database alone tells nothing. Those of a task are deleted once the agent has them.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { writeOwnerOnly } from '../../host/files.ts'
import { RepoToken } from '../../protocol/clone.ts'
import { Secrets } from '../../protocol/task.ts'

const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** What a task was given that nobody may read. */
export const Hidden = z.object({ secrets: Secrets, repoToken: RepoToken.optional() })
export type Hidden = z.infer<typeof Hidden>

export interface Vault {
  /**
   * @param place what it belongs to: sealed for one, it cannot be opened for another
   * @param value as JSON
   */
  seal(place: string, value: unknown): Buffer
  open(place: string, sealed: Buffer): unknown
  /** Tells equal texts from others; without the key nobody can try what a text was. */
  fingerprint(text: string): string
}

export function openVault(keyFile: string): Vault {
  const key = readOrMakeKey(keyFile)
  return {
    seal(place, value) {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(place))
      const sealed = Buffer.concat([cipher.update(JSON.stringify(value), 'utf8'), cipher.final()])
      return Buffer.concat([nonce, cipher.getAuthTag(), sealed])
    },
    open(place, sealed) {
      const nonce = sealed.subarray(0, NONCE_BYTES)
      const tag = sealed.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES)
      const decipher = createDecipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(place)).setAuthTag(tag)
      const text = Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()])
      return JSON.parse(text.toString('utf8'))
    },
    fingerprint: (text) => createHmac('sha256', key).update(`fingerprint\n${text}`).digest('hex'),
  }
}

function readOrMakeKey(keyFile: string): Buffer {
  try {
    const key = readFileSync(keyFile)
    if (key.length !== KEY_BYTES) throw new Error(`${keyFile} is not a ${KEY_BYTES}-byte key: restore it from a backup`)
    return key
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    const key = randomBytes(KEY_BYTES)
    writeOwnerOnly(keyFile, key)
    return key
  }
}
