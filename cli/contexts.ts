/**
 * Contexts: the gateways that the user has logged in to, by name, as docker and kubectl have them. Each one is a file of its
 * own in `contexts/`, and a small file names the current one. So programs that log in at the same time never write the
 * same file, and none can lose what another has stored. `local`, the gateway of this machine, is always there and has no
 * file; it is the current one when nothing else is.
 */
import { constants, copyFile, link, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { RclaudeError } from '../protocol/errors.ts'
import { PlainName } from '../protocol/name.ts'
import { configDirectory } from './directories.ts'
import { readJson, writeOwnFile } from './settings.ts'
import type { World } from './world.ts'

export const LOCAL = 'local'
const isName = (name: string): boolean => PlainName.safeParse(name).success

const Stored = z.object({
  url: z.string(),
  token: z.string(),
  /** Whose token it was at the login. */
  user: z.string().optional(),
})
export type Context = z.infer<typeof Stored>

/** What the first releases kept: one gateway without a name. */
const Login = z.object({ url: z.string(), token: z.string() })

type Place = Pick<World, 'env' | 'home' | 'platform'>

const directory = (world: Place): string => join(configDirectory(world), 'contexts')
const currentFile = (world: Place): string => join(configDirectory(world), 'current-context')
const oldLoginFile = (world: Place): string => join(configDirectory(world), 'gateway.json')
export const contextFile = (world: Place, name: string): string => join(directory(world), `${name}.json`)

/** @throws {RclaudeError} `invalid` */
export function checkName(name: string): string {
  if (isName(name)) return name
  throw new RclaudeError(
    'invalid',
    `"${name}" is no name of a context: lower-case letters, digits, and . _ - after the first, 63 at most`,
  )
}

/** In the order of the alphabet; without `local`. */
export async function contextNames(world: Place): Promise<string[]> {
  await adoptOldLogin(world)
  return storedNames(world)
}

/** @throws {RclaudeError} `invalid` when there is none of this name */
export async function readContext(world: Place, name: string): Promise<Context> {
  await adoptOldLogin(world)
  const found = isName(name) ? await readJson(contextFile(world, name), Stored) : undefined
  if (found !== undefined) return found
  const names = [LOCAL, ...(await storedNames(world))].join(', ')
  throw new RclaudeError(
    'invalid',
    `there is no context "${name.slice(0, 100)}"; there is ${names} (rclaude login adds one)`,
  )
}

/** Undefined for `local`. */
export async function currentContext(world: Place): Promise<string | undefined> {
  await adoptOldLogin(world)
  const name = (await readIfThere(currentFile(world)))?.trim()
  return name === undefined || name === '' || name === LOCAL ? undefined : name
}

export async function useContext(world: Place, name: string): Promise<void> {
  if (name !== LOCAL) await readContext(world, name)
  await writeOwnFile(currentFile(world), `${name}\n`)
}

export async function writeContext(world: Place, name: string, context: Context): Promise<void> {
  await adoptOldLogin(world)
  await writeOwnFile(contextFile(world, checkName(name)), toText(context))
}

/** The token goes with it. When it was the current one, `local` is. */
export async function removeContext(world: Place, name: string): Promise<void> {
  if (!(await contextNames(world)).includes(name)) await readContext(world, name) // which says what there is
  if ((await currentContext(world)) === name) await useContext(world, LOCAL)
  await rm(contextFile(world, name), { force: true })
}

/** For a login that names none: the context of this gateway and user, or a free name made of its address. */
export async function nameFor(world: Place, url: string, user: string): Promise<string> {
  const names = await contextNames(world)
  for (const name of names) {
    const known = await readJson(contextFile(world, name), Stored)
    if (known?.url === url && (known.user === undefined || known.user === user)) return name
  }
  return freeName(url, new Set(names))
}

function freeName(url: string, taken: ReadonlySet<string>): string {
  const host = new URL(url).host
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9]+/, '')
    .slice(0, 50)
  const base = host === '' || host === LOCAL ? 'gateway' : host
  for (let n = 1; ; n++) {
    const name = n === 1 ? base : `${base}-${n}`
    if (!taken.has(name)) return name
  }
}

/**
 * The login of an earlier release becomes a context, and the current one unless there is one. Each step may be cut off, or be
 * made by two programs at once: nothing that is there is overwritten, and the old file goes last.
 */
async function adoptOldLogin(world: Place): Promise<void> {
  const old = await readJson(oldLoginFile(world), Login)
  if (old === undefined) return
  const taken = new Set<string>()
  for (;;) {
    const name = freeName(old.url, taken)
    if (await writeNew(contextFile(world, name), toText(old))) return finish(name)
    const there = await readJson(contextFile(world, name), Stored)
    if (there?.url === old.url && there.token === old.token) return finish(name)
    taken.add(name)
  }

  async function finish(name: string): Promise<void> {
    await writeNew(currentFile(world), `${name}\n`)
    await rm(oldLoginFile(world), { force: true })
  }
}

/** @returns false when there is such a file already; it is left as it is */
async function writeNew(file: string, text: string): Promise<boolean> {
  const draft = `${file}.${process.pid}.new`
  await writeOwnFile(draft, text)
  try {
    await link(draft, file)
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return false
    if (code !== 'EPERM' && code !== 'ENOTSUP') throw error
    return await copyNew(draft, file) // a file system without hard links
  } finally {
    await rm(draft, { force: true })
  }
}

async function copyNew(from: string, to: string): Promise<boolean> {
  try {
    await copyFile(from, to, constants.COPYFILE_EXCL)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

async function storedNames(world: Place): Promise<string[]> {
  const files = await readdir(directory(world)).catch(() => []) // no folder, no contexts
  return files
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -'.json'.length))
    .filter((name) => isName(name) && name !== LOCAL)
    .sort()
}

const toText = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`

const readIfThere = (file: string): Promise<string | undefined> =>
  readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new RclaudeError('unavailable', `cannot read ${file}: ${error.message}`)
  })
