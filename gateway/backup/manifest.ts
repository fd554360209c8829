/** What a backup says of itself: every file with its size and checksum. It is written last, so a half-made backup has none. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { z } from 'zod'
import { RclaudeError } from '../../protocol/errors.ts'

export const MANIFEST = 'manifest.json'
/** Of the backup's own layout. */
const FORMAT = 1

export const Manifest = z.object({
  format: z.literal(FORMAT),
  gatewayId: z.string(),
  /** Release of the gateway that made it. */
  version: z.string(),
  /** Version of the database's schema. */
  schema: z.number().int().positive(),
  takenAt: z.iso.datetime(),
  hasKey: z.boolean(),
  tasks: z.number().int().nonnegative(),
  bytes: z.number().int().nonnegative(),
  files: z.array(
    z.object({
      path: z.string().regex(/^(?!\/)(?!(.*\/)?\.\.(\/|$))[^\0]+$/),
      size: z.number().int().nonnegative(),
      sha256: z.string(),
    }),
  ),
})
export type Manifest = z.infer<typeof Manifest>
export type BackedUpFile = Manifest['files'][number]

export const newManifest = (facts: Omit<Manifest, 'format' | 'bytes'>): Manifest => ({
  format: FORMAT,
  ...facts,
  bytes: facts.files.reduce((sum, { size }) => sum + size, 0),
})

/** @throws RclaudeError `invalid` when it is missing or makes no sense */
export async function readManifest(directory: string, name: string): Promise<Manifest> {
  const text = await readFile(join(directory, MANIFEST), 'utf8').catch(() => undefined)
  if (text === undefined)
    throw new RclaudeError('invalid', `${name} is no whole backup: it has no ${MANIFEST} (cut off, or something else)`)
  try {
    return Manifest.parse(JSON.parse(text))
  } catch (cause) {
    throw new RclaudeError('invalid', `${name} is damaged, or of a newer rclaude: its ${MANIFEST} cannot be read`, {
      cause,
    })
  }
}

/** Everything under a folder, hashed. @throws RclaudeError `invalid` for what is neither file nor folder */
export async function listFiles(directory: string): Promise<BackedUpFile[]> {
  const files: BackedUpFile[] = []
  for (const path of await pathsIn(directory)) {
    const found = await lstat(join(directory, path))
    if (found.isDirectory()) continue
    if (!found.isFile())
      throw new RclaudeError('invalid', `${path} is neither file nor folder: a backup holds no such thing`)
    files.push({ path, size: found.size, sha256: await hashOf(join(directory, path)) })
  }
  return files
}

/** Is everything there as it was, and nothing else? @throws RclaudeError `invalid` that names the first wrong file */
export async function verify(directory: string, manifest: Manifest, name: string): Promise<void> {
  const found = new Map((await listFiles(directory)).map((file) => [file.path, file]))
  found.delete(MANIFEST)
  for (const file of manifest.files) {
    const there = found.get(file.path)
    if (there === undefined) throw new RclaudeError('invalid', `${name} is damaged: ${file.path} is missing`)
    if (there.size !== file.size)
      throw new RclaudeError(
        'invalid',
        `${name} is damaged: ${file.path} has ${there.size} bytes, it was made with ${file.size}`,
      )
    if (there.sha256 !== file.sha256)
      throw new RclaudeError('invalid', `${name} is damaged: the contents of ${file.path} have changed`)
    found.delete(file.path)
  }
  const [stranger] = found.keys()
  if (stranger !== undefined)
    throw new RclaudeError('invalid', `${name} was changed: ${stranger} does not belong to it`)
}

/** Symbolic links are named and not followed. */
async function pathsIn(directory: string, prefix = ''): Promise<string[]> {
  const entries = await readdir(join(directory, prefix), { withFileTypes: true })
  const paths: string[] = []
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`
    paths.push(path, ...(entry.isDirectory() ? await pathsIn(directory, path) : []))
  }
  return paths
}

async function hashOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
}
