/**
 * Puts our blocks where every program that uses OpenSSH finds them: a file of our own, and one `Include` line at the top of
 * the user's configuration, where it belongs to no other block. Nothing else of theirs is touched.
 */
import { copyFile, mkdir, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { replaceFile } from '../replace-file.ts'
import { writeOwnFile } from '../settings.ts'
import type { World } from '../world.ts'
import { sshDirectory } from './keys.ts'

type Place = Pick<World, 'env' | 'home' | 'platform'>

export const ownConfigFile = (world: Place): string => join(sshDirectory(world), 'config')
export const userConfigFile = (world: Pick<World, 'home'>): string => join(world.home, '.ssh', 'config')

const includeLine = (world: Place): string => `Include "${ownConfigFile(world)}"`
const NOTE = '# Added by rclaude ssh-config --write; taken out again by rclaude ssh-config --remove.'

export async function isIncluded(world: Place): Promise<boolean> {
  return (await readUserConfig(world)).split('\n').includes(includeLine(world))
}

/** @returns whether the user's file was changed */
export async function writeConfig(world: Place, text: string): Promise<boolean> {
  await writeOwnFile(ownConfigFile(world), text)
  if (await isIncluded(world)) return false
  await replaceUserConfig(world, `${NOTE}\n${includeLine(world)}\n\n${await readUserConfig(world)}`)
  return true
}

/** @returns whether there was anything to remove */
export async function removeConfig(world: Place): Promise<boolean> {
  await rm(ownConfigFile(world), { force: true })
  const before = await readUserConfig(world)
  const after = before
    .replace(`${NOTE}\n`, '')
    .replace(`${includeLine(world)}\n\n`, '')
    .replace(`${includeLine(world)}\n`, '')
  if (after === before) return false
  await replaceUserConfig(world, after)
  return true
}

const readUserConfig = (world: Place): Promise<string> =>
  readFile(userConfigFile(world), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw error
  })

async function replaceUserConfig(world: Place, text: string): Promise<void> {
  const named = userConfigFile(world)
  await mkdir(dirname(named), { recursive: true, mode: 0o700 })
  await replaceFile(named, text, (file) => copyFile(file, `${file}.before-rclaude`))
}
