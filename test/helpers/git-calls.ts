/** How often git is started, and with what: a script in front of the real one on the PATH writes it down. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Every git command that `work` starts, as its arguments. @param folder for the script, empty */
export async function gitCalls(folder: string, work: () => Promise<unknown>): Promise<string[]> {
  const real = execFileSync('/bin/sh', ['-c', 'command -v git'], { encoding: 'utf8' }).trim()
  const log = join(folder, 'log')
  writeFileSync(log, '')
  writeFileSync(join(folder, 'git'), `#!/bin/sh\necho "$*" >> '${log}'\nexec '${real}' "$@"\n`, { mode: 0o755 })
  const path = process.env.PATH
  process.env.PATH = `${folder}:${path}`
  try {
    await work()
  } finally {
    process.env.PATH = path
  }
  return readFileSync(log, 'utf8').split('\n').slice(0, -1)
}
