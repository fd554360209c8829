/**
 * The user's side of SSH: a key of its own, which opens nothing but tasks, and for each host that was dialled the key that the
 * gateway said it has. Both can be lost: they are made again.
 */
import { execFile } from 'node:child_process'
import { link, mkdir, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { RclaudeError } from '../../protocol/errors.ts'
import { stateDirectory } from '../directories.ts'
import { writeOwnFile } from '../settings.ts'
import type { World } from '../world.ts'

const run = promisify(execFile)

type Place = Pick<World, 'env' | 'home' | 'platform'>

export const sshDirectory = (world: Place): string => join(stateDirectory(world), 'ssh')
export const keyFile = (world: Place): string => join(sshDirectory(world), 'id_ed25519')
export const hostKeysDirectory = (world: Place): string => join(sshDirectory(world), 'hosts')

/** @returns the public half. @throws RclaudeError `invalid` where OpenSSH is not installed */
export async function clientKey(world: Place): Promise<string> {
  const file = keyFile(world)
  const known = await readPublic(world, file)
  if (known !== undefined) return known
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  const draft = `${file}.${process.pid}.new`
  try {
    await keygen(world, ['-q', '-t', 'ed25519', '-N', '', '-C', 'rclaude', '-f', draft])
    await link(draft, file).catch(unlessThere) // another call may have made one meanwhile: then that is the key
  } finally {
    await Promise.all([draft, `${draft}.pub`].map((path) => rm(path, { force: true })))
  }
  return (await readPublic(world, file)) ?? ''
}

/** Made of the private half, so that no two files can disagree. */
async function readPublic(world: Place, file: string): Promise<string | undefined> {
  const isThere = await readFile(file).then(
    () => true,
    () => false,
  )
  return isThere
    ? `${(await keygen(world, ['-y', '-f', file])).trim().split(' ').slice(0, 2).join(' ')} rclaude`
    : undefined
}

async function keygen({ env }: Pick<World, 'env'>, args: string[]): Promise<string> {
  try {
    return (await run('ssh-keygen', args, { env })).stdout
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    const why = isMissing ? 'ssh-keygen is not here: install an OpenSSH client' : (error as Error).message
    throw new RclaudeError('invalid', why, { cause: error })
  }
}

function unlessThere(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error
}

/** A file for each host: several connections may be made at once, and a task's key is new when its machine is. */
export async function writeHostKey(world: Place, host: string, key: string): Promise<void> {
  if (!/^[A-Za-z0-9._-]+$/.test(host)) throw new RclaudeError('invalid', `"${host}" cannot be the name of a host`)
  await writeOwnFile(join(hostKeysDirectory(world), host), `${host} ${key}\n`)
}
