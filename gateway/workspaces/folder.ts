/** What lies in a task's repository besides git's own: which of our refs it has, whether it is sealed, whose cache it feeds. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { exists } from '../../host/exists.ts'
import { REFS } from '../../protocol/run.ts'
import { readRefs } from './repository.ts'

export interface WorkspaceRefs {
  snapshot?: string
  base?: string
  parts?: string
  checkpoint?: string
  session?: string
  result?: string
}

const Meta = z.object({ objectFormat: z.enum(['sha1', 'sha256']), cache: z.string().optional() })
type Meta = z.infer<typeof Meta>

const metaFile = (repository: string): string => join(repository, 'rclaude.json')
const sealFile = (repository: string): string => join(repository, 'sealed')

export const writeMeta = (repository: string, meta: Meta): Promise<void> =>
  writeFile(metaFile(repository), JSON.stringify(meta))

export const readMeta = async (repository: string): Promise<Meta> =>
  Meta.parse(JSON.parse(await readFile(metaFile(repository), 'utf8')))

/** From here on its snapshot is what it is. */
export const writeSeal = (repository: string): Promise<void> => writeFile(sealFile(repository), '')
export const isSealed = (repository: string): Promise<boolean> => exists(sealFile(repository))

export async function workspaceRefs(repository: string): Promise<WorkspaceRefs> {
  const held = await readRefs(repository)
  const found: WorkspaceRefs = {}
  for (const [name, ref] of Object.entries(REFS)) {
    const id = held.get(ref)
    if (id !== undefined) found[name as keyof typeof REFS] = id
  }
  return found
}
