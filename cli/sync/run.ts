/** What the steps of one pass share. */
import type { BytePath } from '../../host/tree/names.ts'
import type { Tree } from '../../host/tree/tree.ts'
import { MAX_SYNC_FILES } from '../../protocol/sync.ts'
import type { FarFolder } from './far.ts'
import type { Memory } from './memory.ts'
import type { Tally } from './tally.ts'

export interface Run {
  tree: Tree
  far: FarFolder
  memory: Memory
  tally: Tally
  /** Why what is to be tried again was not done. */
  reasons: Map<BytePath, string>
  /** Permission bits that nothing gets here, whatever it has there. */
  umask: number
  now(): Date
  onDone(what: string, path: BytePath): void
}

/** Paths of one request together; a body of JSON has its bound. */
const MAX_BATCH_CHARACTERS = 2 * 1024 ** 2

export function* batches<T extends { path: BytePath }>(all: readonly T[]): Generator<T[]> {
  let batch: T[] = []
  let characters = 0
  for (const one of all) {
    if (batch.length === MAX_SYNC_FILES || characters > MAX_BATCH_CHARACTERS) {
      yield batch
      batch = []
      characters = 0
    }
    batch.push(one)
    characters += one.path.length
  }
  if (batch.length > 0) yield batch
}
