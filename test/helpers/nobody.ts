/** Programs of Node as a user for whom the modes of files hold, also when the tests run as root. */
import { execFileSync } from 'node:child_process'

const NOBODY = 65_534
const isRoot = process.getuid?.() === 0

/** To be added to the environment of such a program. */
export const AS_NOBODY: Record<string, string> = isRoot
  ? { NODE_OPTIONS: `--import=data:text/javascript,process.setgid(${NOBODY});process.setuid(${NOBODY})` }
  : {}

/** A folder with all in it. */
export function giveToNobody(folder: string): void {
  if (isRoot) execFileSync('chown', ['-R', `${NOBODY}:${NOBODY}`, folder])
}
