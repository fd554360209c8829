/** What outlives the daemon: that the workspace was prepared, and how, in `prepared.json`. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'

/** A submodule, with an index of its own in the private folder. */
const SubmoduleIndex = z.object({ path: z.string(), index: z.string() })
export type SubmoduleIndex = z.infer<typeof SubmoduleIndex>

const Prepared = z.object({
  snapshot: z.string(),
  snapshotTree: z.string(),
  session: z.boolean(),
  submodules: z.array(SubmoduleIndex).default([]),
})
export type Prepared = z.infer<typeof Prepared>

const fileIn = (state: string): string => join(state, 'prepared.json')

export async function readPrepared(state: string): Promise<Prepared | undefined> {
  const text = await readFile(fileIn(state), 'utf8').catch(() => undefined)
  return text === undefined ? undefined : Prepared.parse(JSON.parse(text))
}

export const writePrepared = (state: string, prepared: Prepared): Promise<void> =>
  writeFile(fileIn(state), JSON.stringify(prepared))
