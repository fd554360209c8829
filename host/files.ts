/** Small files that must be whole or absent, and readable by their owner only. */
import { closeSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs'

export function writeOwnerOnly(file: string, content: string | Buffer): void {
  const temporary = `${file}.${process.pid}.tmp`
  const handle = openSync(temporary, 'w', 0o600)
  try {
    const bytes = Buffer.from(content as string)
    writeSync(handle, bytes)
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
  renameSync(temporary, file)
}
