/** A user's git repository with a file `calc.js` and a commit, and something uncommitted. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { git, type World } from './world.ts'

export async function makeRepository(world: World, name = 'project'): Promise<string> {
  const folder = join(world.directory, name)
  mkdirSync(folder)
  await git(folder, 'init', '-q', '-b', 'main')
  await git(folder, 'config', 'user.name', 'User')
  await git(folder, 'config', 'user.email', 'user@example.org')
  writeFileSync(join(folder, 'calc.js'), 'export const add = (a, b) => a - b\n')
  await git(folder, 'add', '-A')
  await git(folder, 'commit', '-qm', 'first')
  writeFileSync(join(folder, 'notes.txt'), 'not committed\n')
  return folder
}
