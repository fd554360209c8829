/**
 * One sync of a pair of folders at a time. The lock names its holder by pid and start time, so that one whose holder was
 * killed is nobody's; it is taken away by a rename, so that of two who find it only one does.
 */
import { randomBytes } from 'node:crypto'
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { startTimeOf } from '../../host/processes.ts'
import { RclaudeError } from '../../protocol/errors.ts'

/** Nobody finds a dead holder so often in a row. */
const TRIES = 5

/** @throws {RclaudeError} `conflict` while another holds it */
export async function lockPair(file: string): Promise<AsyncDisposable> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  const mine = `${file}.${randomBytes(6).toString('hex')}`
  const text = JSON.stringify({ pid: process.pid, started: await startTimeOf(process.pid) })
  await writeFile(mine, text, { mode: 0o600 })
  try {
    for (let attempt = 0; attempt < TRIES; attempt++) {
      try {
        await link(mine, file)
        return { [Symbol.asyncDispose]: () => rm(file, { force: true }) }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
      await clearAway(file, `${mine}.old`)
    }
    throw new RclaudeError('conflict', 'another rclaude sync of this folder has just begun')
  } finally {
    await rm(mine, { force: true })
  }
}

/** @throws {RclaudeError} when the holder lives */
async function clearAway(file: string, aside: string): Promise<void> {
  const held = await readFile(file, 'utf8').catch(() => undefined)
  if (held === undefined) return
  const holder = parse(held)
  if (holder !== undefined && holder.started !== undefined && (await startTimeOf(holder.pid)) === holder.started)
    throw new RclaudeError('conflict', `another rclaude sync of this folder is running (process ${holder.pid})`)
  await rename(file, aside).catch(() => {})
  const taken = await readFile(aside, 'utf8').catch(() => held)
  if (taken !== held) await link(aside, file).catch(() => {}) // somebody new had come meanwhile
  await rm(aside, { force: true })
}

function parse(text: string): { pid: number; started?: string } | undefined {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
