/** What both directions share: files side by side, one failure not stopping the others, a cut that is tried again. */
import { setTimeout as pause } from 'node:timers/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import { RETRY, Retries } from '../attach/retry.ts'
import { oneLine } from '../neutralise.ts'
import type { Progress } from './progress.ts'

/** Files under way at once. */
const AT_ONCE = 6

export interface Transfer {
  progress: Progress
  /** Of one file that is not there as it was, for whatever reason; the others go on. @throws what ends them all */
  failed(path: string, error: unknown): void
  warn(text: string): void
}

/** Runs what is added while it works, some at once; nothing more is begun when one throws. */
export class Pool {
  readonly #waiting: Array<() => Promise<void>> = []

  add(work: () => Promise<void>): void {
    this.#waiting.push(work)
  }

  async run(): Promise<void> {
    const worker = async () => {
      for (let work = this.#waiting.shift(); work !== undefined; work = this.#waiting.shift()) await work()
    }
    try {
      await Promise.all(Array.from({ length: AT_ONCE }, worker))
    } finally {
      this.#waiting.length = 0
    }
  }
}

/** Again as long as the connection is what failed; `attempt` goes on where the one before ended. */
export async function insist<Result>(
  transfer: Transfer,
  attempt: (retries: Retries) => Promise<Result>,
): Promise<Result> {
  const retries = new Retries(RETRY, Math.random, Date.now)
  for (;;) {
    try {
      return await attempt(retries)
    } catch (error) {
      const next = isCut(error) ? retries.next() : undefined
      if (next === undefined) throw error
      if (next.attempt === 1) transfer.warn('the connection was cut; going on where it was')
      await pause(next.delayMs)
    }
  }
}

/** What each file would meet in turn: a gateway that stays away, a token that is not taken any more. */
export const endsAll = (error: unknown): boolean =>
  isCut(error) || (error instanceof RclaudeError && error.code === 'unauthenticated')

const CUT = new Set(['unavailable', 'agent_offline', 'agent_failed', 'agent_timeout'])

function isCut(error: unknown): boolean {
  if (error instanceof RclaudeError) return CUT.has(error.code) || error.message === 'the upload was cut short'
  return error instanceof TypeError || (error instanceof Error && error.name === 'AbortError') // fetch's word for a lost connection
}

/** What is not UTF-8 would be another name, or lead elsewhere, at the other side. */
export const notUtf8 = (what: 'name' | 'target') =>
  new RclaudeError('unsupported', `its ${what} is not UTF-8, so it is left out: rclaude sync carries such ${what}s`)

export const leftOut = (what: string) => new RclaudeError('unsupported', `${what} is left out`)

/** Of an error of the system without its call and path: whoever says it has named the path. */
export function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return oneLine(String(error))
  return oneLine('syscall' in error ? (error.message.split(', ', 1)[0] ?? '') : error.message)
}
