/** `/files/<path>`: the files of the workspace, by GET, HEAD, PUT, POST and DELETE. Paths are percent-encoded bytes. */
import { type Context, Hono } from 'hono'
import { z } from 'zod'
import { RclaudeError } from '../../protocol/errors.ts'
import { FileOperation, UploadId } from '../../protocol/file.ts'
import { etagOf, modeOf } from '../files/stats.ts'
import { findPlace, type Place, type WalkOptions } from '../files/tree.ts'
import { Watches } from '../watch/watches.ts'
import { changeTree } from './file-change.ts'
import { isDiskFull, meaningOf, missing, namesOf } from './file-path.ts'
import { answerFile, listDirectory, refuseSpecial, statPlace } from './file-read.ts'
import { answerTar, unpackTar } from './file-tar.ts'
import { Uploads } from './file-upload.ts'
import { answerWatch } from './file-watch.ts'
import { deleteFile, writeFile } from './file-write.ts'
import { parse, parseBody } from './problem.ts'
import { type AgentEnv, uploadOf } from './send.ts'

export interface FileRoutesOptions {
  /** Of the workspace. */
  root: string
  /** Where unfinished uploads wait: outside the workspace. */
  uploads: string
  /** Where the routes are mounted. */
  mount?: string
  watches?: Watches
}

const flag = z
  .string()
  .optional()
  .transform((text) => text !== undefined && text !== '0' && text !== 'false')
const upload = UploadId.optional()

const GetQuery = z.object({
  watch: flag,
  stat: flag,
  follow: flag,
  recursive: flag,
  depth: z.coerce.number().int().positive().max(400).optional(),
  format: z.enum(['tar']).optional(),
  upload,
})
const PutQuery = z.object({
  upload,
  mtimeMs: z.coerce.number().nonnegative().optional(),
  mode: z
    .string()
    .regex(/^0?[0-7]{3}$/, 'expected an octal mode like 0755')
    .transform((text) => Number.parseInt(text, 8))
    .optional(),
})
const DeleteQuery = z.object({ recursive: flag, upload })

export function fileRoutes(options: FileRoutesOptions): Hono<AgentEnv> {
  const app = new Hono<AgentEnv>()
  const mount = options.mount ?? '/files'
  const watches = options.watches ?? new Watches({ root: options.root })
  const uploads = new Uploads(options.uploads)

  const answering = async (c: Context<AgentEnv>, answer: () => Promise<Response>) => {
    try {
      return await answer()
    } catch (error) {
      throw meaningOf(error, c.req.path.slice(mount.length + 1))
    }
  }

  const at = async (c: Context<AgentEnv>, walk: WalkOptions, use: (place: Place) => Promise<Response>) => {
    const place = await findPlace(options.root, namesOf(c, mount), walk)
    try {
      return await use(place)
    } finally {
      await place.close()
    }
  }

  const read = async (c: Context<AgentEnv>) => {
    const query = parse('the query', GetQuery, c.req.query())
    if (query.upload !== undefined) return c.json({ received: await uploads.received(query.upload) })
    if (query.watch) return answerWatch(c, watches, namesOf(c, mount))
    return at(c, { followLast: !query.stat || query.follow }, async (place) => {
      if (place.stats === undefined) throw new RclaudeError('not_found', missing(c.req.path.slice(mount.length + 1)))
      if (query.stat) return c.json(await statPlace(place))
      refuseSpecial(place.stats)
      if (!place.stats.isDirectory()) return answerFile(c, place)
      if (query.format === 'tar' || c.req.header('accept') === 'application/x-tar') return answerTar(c, place)
      return c.json(await listDirectory(place, query.recursive ? (query.depth ?? 400) : (query.depth ?? 1)))
    })
  }

  const write = (c: Context<AgentEnv>) => {
    const query = parse('the query', PutQuery, c.req.query())
    const writing = at(c, { followLast: true, create: true }, async (place) => {
      const { mode, mtimeMs } = query
      const facts = { ...conditionsOf(c), mode, mtimeMs }
      const keep = (content: AsyncIterable<Buffer> | string) => writeFile(place, content, facts)
      const body = uploadOf(c)
      const { received, finished } =
        query.upload === undefined
          ? { received: undefined, finished: await keep(body) }
          : await uploads.add(query.upload, c.req.header('content-range'), body, keep)
      if (finished === undefined) return c.json({ received }, 202)
      const { created, stats } = finished
      const answer = { size: Number(stats.size), mode: modeOf(stats), etag: etagOf(stats) }
      return c.json(answer, created ? 201 : 200, { etag: answer.etag })
    })
    return writing.catch(async (error: unknown) => {
      // What has arrived would keep the disk full, for this task and whoever shares it.
      if (query.upload !== undefined && isDiskFull(error)) await uploads.drop(query.upload)
      throw error
    })
  }

  const change = async (c: Context<AgentEnv>) => {
    const names = namesOf(c, mount)
    if (c.req.header('content-type') === 'application/x-tar')
      return c.json(await unpackTar(options, names, uploadOf(c)), 201)
    await changeTree(options, names, await parseBody(c.req.raw, FileOperation))
    return c.body(null, 204)
  }

  const remove = async (c: Context<AgentEnv>) => {
    const query = parse('the query', DeleteQuery, c.req.query())
    if (query.upload !== undefined) {
      await uploads.drop(query.upload)
      return c.body(null, 204)
    }
    return at(c, { followLast: false }, async (place) => {
      await deleteFile(place, conditionsOf(c), query.recursive)
      return c.body(null, 204)
    })
  }

  for (const path of ['/', '/*'])
    app
      .get(path, (c) => answering(c, () => read(c)))
      .put(path, (c) => answering(c, () => write(c)))
      .post(path, (c) => answering(c, () => change(c)))
      .delete(path, (c) => answering(c, () => remove(c)))
  return app
}

function conditionsOf(c: Context<AgentEnv>) {
  return { ifMatch: c.req.header('if-match'), ifNoneMatch: c.req.header('if-none-match') }
}
