/**
 * Some space kept aside, so that a gateway on a full disk can still start and be told to delete things: a delete writes
 * to the database before it frees anything.
 */
import { closeSync, existsSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs'

const RESERVE_BYTES = 8 * 1024 * 1024
/** Taken aside only while this much is left besides. */
const MARGIN_BYTES = 64 * 1024 * 1024
/** A gateway that starts with less gives the space to itself. */
const START_BYTES = 4 * 1024 * 1024

export interface Reserve {
  /** Gives the space back to whoever must write now. @returns false when there was none */
  release(): boolean
  /** Takes it aside again, once there is room. */
  restore(): void
}

export function keepReserve(directory: string, file: string): Reserve {
  const reserve: Reserve = {
    release() {
      if (!existsSync(file)) return false
      rmSync(file, { force: true })
      return true
    },
    restore() {
      if (existsSync(file)) return
      if (freeBytes(directory) < RESERVE_BYTES + MARGIN_BYTES) return
      try {
        fill(file)
      } catch {
        rmSync(file, { force: true })
      }
    },
  }
  if (freeBytes(directory) < START_BYTES) reserve.release()
  else reserve.restore()
  return reserve
}

function freeBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(directory)
  return bavail * bsize
}

/** Really written: a sparse file would hold no space. */
function fill(file: string): void {
  const handle = openSync(file, 'w', 0o600)
  try {
    const block = Buffer.alloc(1024 * 1024)
    for (let written = 0; written < RESERVE_BYTES; written += block.length) writeSync(handle, block)
  } finally {
    closeSync(handle)
  }
}
