/** `/sync/manifest`, `/sync/apply` and `/sync/fetch`: a folder of the workspace as one side of `rclaude sync`. */
import { type Context, Hono } from 'hono'
import type { z } from 'zod'
import { readAtMost } from '../../host/read-at-most.ts'
import { ContentMemory } from '../../host/tree/content.ts'
import { BrokenFrames } from '../../host/tree/frames.ts'
import { type BytePath, fromWire, refusedPath, toText } from '../../host/tree/names.ts'
import { codeOf, Tree } from '../../host/tree/tree.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import { MAX_SYNC_BODY, SyncFetchRequest, SyncManifestRequest, type WirePath } from '../../protocol/sync.ts'
import { parse } from './problem.ts'
import { type AgentEnv, uploadOf } from './send.ts'
import { applyUpload } from './sync-apply.ts'
import { sendFiles } from './sync-fetch.ts'
import type { SyncFolder } from './sync-folder.ts'
import { sendManifest } from './sync-manifest.ts'

export interface SyncRoutesOptions {
  /** Of the workspace. */
  root: string
}

/** Files whose digests are remembered; about 200 bytes each. */
const MAX_KNOWN = 500_000

export function syncRoutes(options: SyncRoutesOptions): Hono<AgentEnv> {
  const app = new Hono<AgentEnv>()
  const known = new ContentMemory(MAX_KNOWN)

  const folderOf = (path: WirePath): SyncFolder => {
    const folder = fromWire(path).replace(/\/+$/, '')
    const refused = folder === '' ? undefined : refusedPath(folder)
    if (refused !== undefined)
      throw new RclaudeError('invalid', `${shown(folder)} cannot be a folder of the workspace: ${refused}`)
    const open = (create: boolean) => openFolder(options, folder, create)
    return { root: options.root, folder, known: known.under(folder), open }
  }

  app.post('/manifest', async (c) => {
    const request = await bodyOf(c, SyncManifestRequest)
    return await sendManifest(c, folderOf(request.folder), request)
  })
  app.post('/fetch', async (c) => {
    const request = await bodyOf(c, SyncFetchRequest)
    return await sendFiles(c, folderOf(request.folder), request.paths.map(fromWire))
  })
  app.post('/apply', async (c) => {
    try {
      return await applyUpload(c, folderOf)
    } catch (error) {
      if (!(error instanceof BrokenFrames)) throw error
      throw new RclaudeError('invalid', `the upload is not valid: ${error.message}`, { cause: error })
    }
  })
  return app
}

function openFolder({ root }: SyncRoutesOptions, folder: BytePath, create: boolean): Tree | undefined {
  try {
    return Tree.open(root, folder, { create })
  } catch (error) {
    const code = codeOf(error)
    if (code === 'ENOENT' && !create) return undefined
    if (code === 'ENOTDIR' || code === 'ELOOP')
      throw new RclaudeError('conflict', `${shown(folder)} is not a folder of the workspace, or is a symbolic link`)
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new RclaudeError('disk_full', `no space is left for ${shown(folder)}; delete something and try again`)
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
      throw new RclaudeError('forbidden', `${shown(folder)} may not be read or changed by the agent`)
    throw error
  }
}

const shown = (folder: BytePath): string => JSON.stringify(toText(folder))

async function bodyOf<S extends z.ZodType>(c: Context<AgentEnv>, schema: S): Promise<z.output<S>> {
  const text = await readAtMost(
    MAX_SYNC_BODY,
    uploadOf(c),
    () => new RclaudeError('too_large', `the request body is longer than ${MAX_SYNC_BODY} bytes: ask in parts`),
  )
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new RclaudeError('invalid', 'the request body is not JSON', { cause: error })
  }
  return parse('the request body', schema, value)
}
