/** How often git is started, and with what: a script in front of the real one on the PATH writes it down. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Puts the script into `folder`, which then goes first on a PATH; what git is told stands in `folder/log`, a line each. */
export function gitRecorder(folder: string): string {
  const real = execFileSync('/bin/sh', ['-c', 'command -v git'], { encoding: 'utf8' }).trim()
  const script = `#!/bin/sh\necho "$*" >> '${join(folder, 'log')}'\nexec '${real}' "$@"\n`
  writeFileSync(join(folder, 'git'), script, { mode: 0o755 })
  return folder
}

/** Every git command that `work` starts, as its arguments. @param folder for the script, empty */
export async function gitCalls(folder: string, work: () => Promise<unknown>): Promise<string[]> {
  const path = process.env.PATH
  process.env.PATH = `${gitRecorder(folder)}:${path}`
  try {
    await work()
  } finally {
    process.env.PATH = path
  }
  return readFileSync(join(folder, 'log'), 'utf8').split('\n').slice(0, -1)
}
