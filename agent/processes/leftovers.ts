/**
 * What a child left running. Every descendant inherits a marker in its environment; whoever carries it when the child is gone
 * is killed. Only processes whose environment this process may read are found.
 */
import { findByEnvironment, isNewestProcess, mayHaveLeftProcesses } from '../../host/processes.ts'
import type { WorkUser } from './child.ts'

/**
 * What is found may have forked just before it was killed, and a process in the middle of an exec shows no environment
 * for a moment (on a busy machine one look left 15 of 1,650 alive, two left none), so we look until nothing was there
 * twice in a row.
 */
const SWEEP_QUIET_LOOKS = 2
const SWEEP_MAX_LOOKS = 50
const SWEEP_PAUSE_MS = 8

export interface Leftovers {
  /** Of the child, which has ended. */
  pid: number
  mark: { name: string; value: string }
  /** It lived too short for pids to have come round to the same number. */
  wasShort: boolean
}

/** Kills them, whoever can see them: we, or the second process of the work's user, or both where the child was neither's. */
export async function killAllLeftovers(left: Leftovers, user: WorkUser | undefined): Promise<void> {
  if (left.wasShort && isNewestProcess(left.pid)) return
  const hands = user?.hands
  await Promise.all([
    hands?.killLeftovers(left),
    (hands === undefined || hands.user.uid !== user?.uid) && killLeftovers(left),
  ])
}

export async function killLeftovers({ pid, mark, wasShort }: Leftovers): Promise<void> {
  if (wasShort && !(await mayHaveLeftProcesses(pid, mark.name, mark.value))) return
  for (let look = 0, quiet = 0; look < SWEEP_MAX_LOOKS; look++) {
    const left = await findByEnvironment(mark.name, mark.value)
    for (const one of left) killQuietly(one)
    quiet = left.length === 0 ? quiet + 1 : 0
    if (quiet === SWEEP_QUIET_LOOKS) return
    await delay(SWEEP_PAUSE_MS)
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended meanwhile.
  }
}

/** Not unref'd: a stop must be carried through even when nothing else keeps the process alive. */
function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
