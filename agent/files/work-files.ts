/** What the work wrote beside its workspace, to be read only: by this process, or by the second one (hands/hands.ts). */
import { constants } from 'node:fs'
import { open, readdir } from 'node:fs/promises'
import { join, relative } from 'node:path'
import type { Readable } from 'node:stream'
import type { Adapter } from '../adapters/adapter.ts'

export interface WorkFile {
  size: number
  /** At most `size` bytes. To be read to its end, or destroyed. */
  content: Readable
}

export interface WorkFiles {
  /** Regular files below a folder, relative to it; empty when there is no such folder. No link is followed. */
  below(folder: string): Promise<string[]>
  /** A regular file. @throws the system's error, or RclaudeError */
  open(path: string): Promise<WorkFile>
  /** Of the conversation, relative to its home. */
  sessionFiles(adapter: Adapter, run: Parameters<Adapter['sessionFiles']>[0]): Promise<string[]>
}

export const ownFiles: WorkFiles = {
  async below(folder) {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
  },
  async open(path) {
    // A link could lead to what is not the work's to hand out, and a fifo that took a file's place to a wait without end.
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const stats = await file.stat()
    if (!stats.isFile()) {
      await file.close()
      throw new Error(`${path} is no regular file`)
    }
    const end = Math.max(0, stats.size - 1) // of an empty file there is nothing to be had
    return { size: stats.size, content: file.createReadStream({ start: 0, end }) }
  },
  async sessionFiles(adapter, run) {
    return (await adapter.sessionFiles(run)).map((file) => relative(run.home, file))
  },
}
