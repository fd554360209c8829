/** Writes what arrives into an open file. What is not on the disk yet has a bound, so that the sync at a file's end is short. */
import type { FileHandle } from 'node:fs/promises'

/** A gateway waits a minute for the answer once the last byte is here; a slow disk writes twice this in some seconds. */
const FLUSH_BYTES = 64 * 1024 * 1024

/** @returns where the next byte would go */
export async function fill(file: FileHandle, body: AsyncIterable<Buffer>, from = 0): Promise<number> {
  let at = from
  let flushedTo = from
  let flushing: Promise<void> = Promise.resolve()
  for await (const chunk of body) {
    for (let rest = chunk; rest.length > 0; ) {
      const { bytesWritten } = await file.write(rest, 0, rest.length, at)
      rest = rest.subarray(bytesWritten)
      at += bytesWritten
    }
    if (at - flushedTo < FLUSH_BYTES) continue
    flushedTo = at
    await flushing
    flushing = file.datasync()
    flushing.catch(() => {}) // told by the next await
  }
  await flushing
  return at
}
