/** Where a run's files come from, and which of them: the options that say so, looked at together. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { RclaudeError } from '../protocol/errors.ts'
import { type Project, readProject } from './project-file.ts'
import { checkRepoOptions } from './repo-credential.ts'
import type { RunOptions } from './task-request.ts'
import type { SnapshotOptions } from './workspace/snapshot.ts'
import type { World } from './world.ts'

/** @throws {RclaudeError} `invalid` when two of them contradict each other */
export function checkSources(options: RunOptions): void {
  checkRepoOptions(options)
  if (options.detach === true && options.onDisconnect !== undefined)
    throw new RclaudeError(
      'invalid',
      '--detach leaves the task at once: it cannot be stopped for that (--on-disconnect)',
    )
  if (options.dryRun === true && (options.repo !== undefined || !options.workspace))
    throw new RclaudeError(
      'invalid',
      '--dry-run says what would be sent: with --repo or --no-workspace, nothing would be',
    )
}

/** The file lies in the working tree that is sent; a clone would have one of its own, which is not read. */
export async function projectOf(world: World, options: RunOptions): Promise<Project | undefined> {
  if (!options.workspace || options.repo !== undefined || options.projectFile === false) return undefined
  return readProject(resolve(world.cwd, options.directory ?? '.'))
}

/** @throws {RclaudeError} `invalid` for a folder that is no project */
export function projectFolder(world: World, { directory }: RunOptions): string {
  const folder = resolve(world.cwd, directory ?? '.')
  if ((folder === world.home || folder === '/') && !existsSync(join(folder, '.git')))
    throw new RclaudeError(
      'invalid',
      `${folder} is no project: go to the folder that the task is about, name it with -C, or say --no-workspace`,
    )
  return folder
}

export const snapshotOptions = ({ include = [], exclude = [], depth }: RunOptions): SnapshotOptions => ({
  selection: { include, exclude },
  ...(depth !== undefined && { depth }),
})
