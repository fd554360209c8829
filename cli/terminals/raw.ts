/** The user's terminal given over to another program, byte for byte, and taken back in every case. */
import type { World } from '../world.ts'

/** @returns gives it back, once; `onExit` of the process does so as well, whatever ends it */
export function takeTerminal(
  { stdin, stdout }: Pick<World, 'stdin' | 'stdout'>,
  isRaw: boolean,
  restoring: () => string,
): () => void {
  const wasRaw = stdin.isRaw
  let isTaken = true
  const giveBack = () => {
    if (!isTaken) return
    isTaken = false
    process.off('exit', giveBack)
    try {
      if (stdout.isTTY) stdout.write(restoring())
      if (isRaw && stdin.isTTY) stdin.setRawMode(wasRaw)
    } catch {
      // The terminal itself is gone.
    }
  }
  process.on('exit', giveBack)
  if (isRaw && stdin.isTTY) stdin.setRawMode(true)
  return giveBack
}
