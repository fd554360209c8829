/** The small files that the CLI keeps for its user, how they are read and written; and the consent to run unsandboxed. */
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { RclaudeError } from '../protocol/errors.ts'
import { configDirectory } from './directories.ts'
import type { World } from './world.ts'

const Consent = z.object({ unsandboxed: z.object({ at: z.string() }).optional() })

const consentFile = (world: World): string => join(configDirectory(world), 'consent.json')

export async function hasConsented(world: World): Promise<boolean> {
  return (await readJson(consentFile(world), Consent))?.unsandboxed !== undefined
}

export const recordConsent = (world: World): Promise<void> =>
  writeOwnFile(
    consentFile(world),
    `${JSON.stringify({ unsandboxed: { at: new Date().toISOString() } }, undefined, 2)}\n`,
  )

/** Undefined when there is no such file. @throws {RclaudeError} when it is there and cannot be used */
export async function readJson<Schema extends z.ZodType>(
  file: string,
  schema: Schema,
): Promise<z.output<Schema> | undefined> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new RclaudeError('unavailable', `cannot read ${file}: ${(error as Error).message}`)
  }
  try {
    return schema.parse(JSON.parse(text))
  } catch (error) {
    throw new RclaudeError('unavailable', `${file} is damaged: delete it and try again`, { cause: error })
  }
}

/**
 * Whole or not at all, for its owner's eyes only.
 * @param mayBeLost not worth waiting for the disk: whoever reads it sees that it is not whole after a power cut
 */
export async function writeOwnFile(file: string, text: string, mayBeLost = false): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  const temporary = `${file}.${process.pid}.tmp`
  const handle = await open(temporary, 'w', 0o600)
  try {
    await handle.writeFile(text)
    if (!mayBeLost) await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(temporary, file)
}
