/** `/files/<path>`: the files of the workspace, by GET, HEAD, PUT and DELETE. Paths are percent-encoded bytes. */
import { type Context, Hono } from 'hono'
import { z } from 'zod'
import { RclaudeError } from '../../protocol/errors.ts'
import type { WorkUser } from '../processes/child.ts'
import { Watches } from '../watch/watches.ts'
import { answerFile, etagOf, listDirectory, modeOf, refuseSpecial } from './file-read.ts'
import { findPlace, hasCode, type Place, type WalkOptions } from './file-tree.ts'
import { answerWatch } from './file-watch.ts'
import { deleteFile, writeFile } from './file-write.ts'
import { parse } from './problem.ts'
import { type AgentEnv, uploadOf } from './send.ts'

export interface FileRoutesOptions {
  /** Of the workspace. */
  root: string
  /** Owner of what is written, when the agent has another user for the work. */
  owner?: WorkUser | undefined
  /** Where the routes are mounted. */
  mount?: string
  watches?: Watches
}

const PutQuery = z.object({
  mode: z
    .string()
    .regex(/^0?[0-7]{3}$/, 'expected an octal mode like 0755')
    .transform((text) => Number.parseInt(text, 8))
    .optional(),
})

export function fileRoutes(options: FileRoutesOptions): Hono<AgentEnv> {
  const app = new Hono<AgentEnv>()
  const mount = options.mount ?? '/files'
  const watches = options.watches ?? new Watches({ root: options.root })

  const at = async (c: Context<AgentEnv>, walk: WalkOptions, use: (place: Place) => Promise<Response>) => {
    try {
      const place = await findPlace(options.root, namesOf(c, mount), walk)
      try {
        return await use(place)
      } finally {
        await place.close()
      }
    } catch (error) {
      throw meaningOf(error, c.req.path.slice(mount.length + 1))
    }
  }

  const read = (c: Context<AgentEnv>) => (isFlag(c.req.query('watch')) ? watch(c) : readNow(c))

  const watch = async (c: Context<AgentEnv>) => {
    try {
      return await answerWatch(c, watches, namesOf(c, mount))
    } catch (error) {
      throw meaningOf(error, c.req.path.slice(mount.length + 1))
    }
  }

  const readNow = (c: Context<AgentEnv>) =>
    at(c, { followLast: true }, async (place) => {
      if (place.stats === undefined) throw new RclaudeError('not_found', missing(c.req.path.slice(mount.length + 1)))
      refuseSpecial(place.stats)
      if (!place.stats.isDirectory()) return answerFile(c, place)
      return c.json(await listDirectory(place))
    })

  const write = (c: Context<AgentEnv>) =>
    at(c, { followLast: true, create: { owner: options.owner } }, async (place) => {
      const { mode } = parse('the query', PutQuery, c.req.query())
      const conditions = conditionsOf(c)
      const { created, stats } = await writeFile(place, uploadOf(c), { ...conditions, mode, owner: options.owner })
      const answer = { size: Number(stats.size), mode: modeOf(stats), etag: etagOf(stats) }
      return c.json(answer, created ? 201 : 200, { etag: answer.etag })
    })

  const remove = (c: Context<AgentEnv>) =>
    at(c, { followLast: false }, async (place) => {
      await deleteFile(place, conditionsOf(c))
      return c.body(null, 204)
    })

  for (const path of ['/', '/*']) app.get(path, read).put(path, write).delete(path, remove)
  return app
}

const isFlag = (text: string | undefined): boolean => text !== undefined && text !== '0' && text !== 'false'

/** The names of the path, as bytes: names need not be UTF-8, and an encoded slash is no separator. */
function namesOf(c: Context<AgentEnv>, mount: string): Buffer[] {
  const path = (c.env.incoming.url ?? '').split('?', 1)[0] ?? ''
  if (!path.startsWith(mount)) throw new RclaudeError('invalid', 'the path is written in an unusual way')
  const parts = path.slice(mount.length).split('/').slice(1)
  if (parts.at(-1) === '') parts.pop() // a closing slash
  return parts.map(nameOf)
}

function nameOf(part: string): Buffer {
  const latin1 = Buffer.from(part, 'utf8')
    .toString('latin1')
    .replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  if (latin1 === '' || latin1 === '.' || latin1 === '..' || /[/\0]/.test(latin1))
    throw new RclaudeError('invalid', `${JSON.stringify(part)} cannot be a name in a path`)
  return Buffer.from(latin1, 'latin1')
}

function conditionsOf(c: Context<AgentEnv>) {
  return { ifMatch: c.req.header('if-match'), ifNoneMatch: c.req.header('if-none-match') }
}

const missing = (path: string) => `there is no ${JSON.stringify(path)} in the workspace`

/** The system's errors in our words; what is no error of the caller's or the disk's stays a fault. */
function meaningOf(error: unknown, path: string): unknown {
  const name = JSON.stringify(path)
  if (hasCode(error, 'ENOENT')) return new RclaudeError('not_found', missing(path), { cause: error })
  if (hasCode(error, 'ENOSPC', 'EDQUOT'))
    return new RclaudeError('disk_full', `no space is left for ${name}; delete something and try again`, {
      cause: error,
    })
  if (hasCode(error, 'EACCES', 'EPERM', 'EROFS'))
    return new RclaudeError('forbidden', `${name} may not be read or changed by the agent`, { cause: error })
  if (hasCode(error, 'ENOTDIR'))
    return new RclaudeError('not_found', `${name} leads through something that is no directory`, { cause: error })
  if (hasCode(error, 'ELOOP'))
    return new RclaudeError('conflict', `${name} changed while it was looked up; try again`, { cause: error })
  if (hasCode(error, 'EISDIR', 'EEXIST', 'ENOTEMPTY', 'EBUSY'))
    return new RclaudeError('conflict', `${name} is a directory, or one that is not empty`, { cause: error })
  if (hasCode(error, 'ENAMETOOLONG', 'EINVAL', 'EILSEQ'))
    return new RclaudeError('invalid', `${name} is no possible name here`, { cause: error })
  if (hasCode(error, 'ENXIO', 'ENODEV'))
    return new RclaudeError('unsupported', `${name} is no regular file or directory`, { cause: error })
  if (hasCode(error, 'EFBIG'))
    return new RclaudeError('too_large', `${name} is too large for this disk`, { cause: error })
  return error
}
