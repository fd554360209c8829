/** The small files that the CLI keeps for its user: the gateway logged in to, and the consent to run unsandboxed. */
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { RclaudeError } from '../protocol/errors.ts'
import { configDirectory } from './directories.ts'
import type { World } from './world.ts'

const Login = z.object({ url: z.string(), token: z.string() })
export type Login = z.infer<typeof Login>

const Consent = z.object({ unsandboxed: z.object({ at: z.string() }).optional() })

export const loginFile = (world: World): string => join(configDirectory(world), 'gateway.json')
const consentFile = (world: World): string => join(configDirectory(world), 'consent.json')

export const readLogin = (world: World): Promise<Login | undefined> => readJson(loginFile(world), Login)

export const writeLogin = (world: World, login: Login): Promise<void> => writeJson(loginFile(world), login)

export const removeLogin = (world: World): Promise<void> => rm(loginFile(world), { force: true })

export async function hasConsented(world: World): Promise<boolean> {
  return (await readJson(consentFile(world), Consent))?.unsandboxed !== undefined
}

export const recordConsent = (world: World): Promise<void> =>
  writeJson(consentFile(world), { unsandboxed: { at: new Date().toISOString() } })

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

/** Whole or not at all, for its owner's eyes only. */
export async function writeJson(file: string, value: unknown): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  const temporary = `${file}.${process.pid}.tmp`
  const handle = await open(temporary, 'w', 0o600)
  try {
    await handle.writeFile(`${JSON.stringify(value, undefined, 2)}\n`)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(temporary, file)
}
