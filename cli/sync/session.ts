/** A pair of folders under its lock, with its memory: passes that survive a lost connection, and what they learned is kept. */
import { setTimeout as pause } from 'node:timers/promises'
import { Retries, type RetryPolicy } from '../attach/retry.ts'
import type { World } from '../world.ts'
import { isLoss } from './far.ts'
import { lockPair } from './lock.ts'
import { fileOf, type Pair, readMemory, writeMemory } from './memory.ts'
import { type SyncOptions, syncOnce } from './pass.ts'
import type { Tally } from './tally.ts'

export const PATIENCE: RetryPolicy = { minMs: 100, maxMs: 5_000, giveUpMs: 60_000 }

export interface SessionOptions extends Omit<SyncOptions, 'memory'> {
  policy: RetryPolicy
  /** Told before each wait. */
  onLoss(error: Error): void
}

export interface Session extends AsyncDisposable {
  /** @throws the error of the last try when the patience is at its end */
  sync(): Promise<Tally>
  readonly memory: SyncOptions['memory']
}

/** @throws {RclaudeError} `conflict` while another sync of the pair runs */
export async function openSession(world: World, pair: Pair, options: SessionOptions): Promise<Session> {
  const lock = await lockPair(fileOf(world, pair, 'lock'))
  try {
    const file = fileOf(world, pair, 'memory')
    const memory = await readMemory(file)
    const save = async () => {
      if (!options.dryRun) await writeMemory(file, memory)
    }
    return {
      memory,
      sync: () => insist({ ...options, memory }, save),
      [Symbol.asyncDispose]: () => lock[Symbol.asyncDispose](),
    }
  } catch (error) {
    await lock[Symbol.asyncDispose]()
    throw error
  }
}

async function insist(options: SyncOptions & SessionOptions, save: () => Promise<void>): Promise<Tally> {
  const retries = new Retries(options.policy, Math.random, Date.now)
  const { signal } = options.far
  for (;;) {
    try {
      return await syncOnce(options)
    } catch (error) {
      signal.throwIfAborted()
      const next = isLoss(error) ? retries.next() : undefined
      if (next === undefined) throw error
      options.onLoss(error as Error)
      await pause(next.delayMs, undefined, { signal })
    } finally {
      await save()
    }
  }
}
