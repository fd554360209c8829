/**
 * Where a program is found and how a child gets into its folder. A child goes to its folder before it becomes the work's
 * user: root without further rights cannot enter every folder that the work can, and not see every program.
 */
import { accessSync, constants as modes, statSync } from 'node:fs'
import { delimiter, resolve } from 'node:path'
import type { WorkUser } from './child.ts'

const USUAL_PATH = '/usr/local/bin:/usr/bin:/bin'
/** As the child itself, when it is the work already. */
const ENTER = ['/bin/sh', '-c', 'cd -- "$0" && exec "$@"'] as const

export interface Start {
  argv: readonly string[]
  cwd: string
}

/**
 * @returns the same, or by way of a shell that enters the folder
 * @throws an error with code ENOENT or EACCES, as a spawn would
 */
export async function enterable({ argv, cwd }: Start, path: string | undefined, user?: WorkUser): Promise<Start> {
  if (user?.hands === undefined || mayEnter(cwd)) return { argv, cwd }
  await findProgram(argv[0] ?? '', cwd, path, user)
  return { argv: [...ENTER, cwd, ...argv], cwd: '/' }
}

export function mayEnter(cwd: string): boolean {
  try {
    accessSync(cwd, modes.X_OK)
    return statSync(cwd).isDirectory()
  } catch {
    return false
  }
}

/** @throws an error with code ENOENT or EACCES */
export async function findProgram(
  file: string,
  cwd: string,
  path: string | undefined,
  user?: WorkUser,
): Promise<string> {
  try {
    return programAt(file, cwd, path)
  } catch (error) {
    if (user?.hands === undefined) throw error
  }
  const { program, code } = await user.hands.call('program', { file, cwd, path })
  if (program === undefined) throw Object.assign(new Error(`spawn ${file} ${code}`), { code })
  return program
}

/** @throws an error with code ENOENT or EACCES */
export function programAt(file: string, cwd: string, path = USUAL_PATH): string {
  if (!mayEnter(cwd)) throw Object.assign(new Error(`${cwd} may not be entered`), { code: 'EACCES' })
  if (file.includes('/')) return executable(resolve(cwd, file))
  let failure: unknown
  for (const directory of path.split(delimiter)) {
    try {
      return executable(resolve(cwd, directory, file))
    } catch (error) {
      failure = error
    }
  }
  throw failure
}

function executable(path: string): string {
  accessSync(path, modes.X_OK)
  if (!statSync(path).isFile()) throw Object.assign(new Error(`${path} is no file`), { code: 'EACCES' })
  return path
}
