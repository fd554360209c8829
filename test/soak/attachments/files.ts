/**
 * File transfers, as a script would make them: downloads go on with Range and If-Range where they broke off, uploads are
 * repeated until they are in, conditional on the version before. A file is at all times one whole version.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { RclaudeError } from '../../../protocol/errors.ts'
import { DirectoryListing, WrittenFile } from '../../../protocol/file.ts'
import { routes } from '../../../protocol/routes.ts'
import { eventually } from '../../helpers/eventually.ts'
import { between, bytesFrom, randomFrom } from '../../helpers/random.ts'
import { type Attachment, attachment, insist, type Stage, type Tally } from './attachment.ts'
import { Fault } from './expected.ts'

/** What is tested is that transfers go on, not how fast: a hundred of them share one machine with all the rest. */
const BYTES_PER_SECOND = 128 * 1024
const PIECE_BYTES = 16 * 1024
export const DOWNLOADED = 'down/file.bin'
const UPLOADS = 'up'
/** A broken upload is noticed at the latest when its half-open connection is. */
const LEFTOVER_MS = 25_000

/** One file, again and again, at a steady pace. */
export const download = (stage: Stage, name: string, content: Buffer): Attachment =>
  attachment(name, async (isReady) => {
    const tally: Tally = { checked: 0, retries: 0 }
    while (!stage.ending.aborted)
      await readWhole(stage, DOWNLOADED, tally, (at, bytes) => {
        isReady()
        if (!bytes.equals(content.subarray(at, at + bytes.length)))
          throw new Fault(`${name}: bytes ${at} to ${at + bytes.length} are wrong`)
        if (at + bytes.length > content.length) throw new Fault(`${name}: more than the file's ${content.length} bytes`)
        return stage.ending.aborted ? 0 : (bytes.length / BYTES_PER_SECOND) * 1_000
      }).then(({ size }) => {
        if (size !== content.length) throw new Fault(`${name}: got ${size} bytes of ${content.length}`)
      })
    return tally
  })

/** Versions of one file, each only in the place of the one before. */
export const upload = (stage: Stage, name: string): Attachment =>
  attachment(name, async (isReady) => {
    const tally: Tally = { checked: 0, retries: 0 }
    const path = `${UPLOADS}/${name.replaceAll(' ', '-')}`
    let before: Version | undefined
    for (let n = 1; !stage.ending.aborted; n++) {
      before = await put(stage, path, versionOf(path, n), before, tally)
      isReady()
    }
    return tally
  })

/** After the storm: nothing of a broken upload is left. */
export async function findLeftovers(stage: Stage): Promise<string[]> {
  const names = async () => {
    const response = await stage.client.raw(routes.getFile, { params: { taskId: stage.taskId, rest: UPLOADS } })
    const { entries } = DirectoryListing.parse(await response.json())
    return entries.map(({ name }) => name).filter((name) => name.startsWith('.rclaude-upload-'))
  }
  return eventually('broken uploads are gone', async () => (await names()).length === 0 && [], LEFTOVER_MS).catch(names)
}

export async function putFile(stage: Stage, path: string, content: Buffer): Promise<void> {
  const params = { taskId: stage.taskId, rest: path }
  await insist(stage, () => stage.client.raw(routes.putFile, { params, rawBody: new Uint8Array(content) }))
}

interface Version {
  content: Buffer
  etag?: string
}

function versionOf(path: string, n: number): Version {
  const random = randomFrom([...`${path} ${n}`].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) | 0, 0))
  return { content: bytesFrom(random, between(random, 1, 512 * 1024)) }
}

/** Until it is in. An answer that was lost shows as 412 at the next try: then the file must be the new version. */
async function put(
  stage: Stage,
  path: string,
  version: Version,
  before: Version | undefined,
  tally: Tally,
): Promise<Version> {
  const params = { taskId: stage.taskId, rest: path }
  const condition = before?.etag === undefined ? { 'if-none-match': '*' } : { 'if-match': before.etag }
  const written = await insist(
    stage,
    async (gotOn) => {
      try {
        const rawBody = paced(stage, version.content, gotOn)
        return WrittenFile.parse(
          await (await stage.client.raw(routes.putFile, { params, rawBody, headers: condition })).json(),
        )
      } catch (error) {
        if (error instanceof RclaudeError && error.code === 'precondition') return undefined
        throw error
      }
    },
    async () => {
      tally.retries++
      await checkVersion(stage, path, before === undefined ? [version] : [before, version], before === undefined, tally)
    },
  )
  if (written !== undefined && written.size !== version.content.length)
    throw new Fault(`${path}: ${written.size} bytes were written, not ${version.content.length}`)
  const etag = await checkVersion(stage, path, [version], false, tally)
  if (written !== undefined && written.etag !== etag) throw new Fault(`${path}: written as ${written.etag}, is ${etag}`)
  tally.checked += version.content.length
  return { ...version, ...(etag !== undefined && { etag }) }
}

/** @returns its ETag. @throws Fault when the file is none of `versions`, or missing where it must be there */
async function checkVersion(
  stage: Stage,
  path: string,
  versions: readonly Version[],
  mayBeMissing: boolean,
  tally: Tally,
): Promise<string | undefined> {
  const pieces: Buffer[] = []
  try {
    const { etag } = await readWhole(stage, path, tally, (at, bytes) => {
      if (at === 0) pieces.length = 0
      pieces.push(bytes)
      return 0
    })
    const whole = Buffer.concat(pieces)
    if (versions.some(({ content }) => content.equals(whole))) return etag
    throw new Fault(`${path}: its ${whole.length} bytes are none of the versions that it may be`)
  } catch (error) {
    if (mayBeMissing && error instanceof RclaudeError && error.code === 'not_found') return undefined
    throw error
  }
}

/**
 * Reads a file to its end, over lost connections; from its beginning again when it changed meanwhile.
 * @param take gets the bytes at an offset, and says for how many milliseconds to wait
 */
async function readWhole(
  stage: Stage,
  path: string,
  tally: Tally,
  take: (at: number, bytes: Buffer) => number,
): Promise<{ size: number; etag: string }> {
  let at = 0
  let etag = ''
  let size = Number.POSITIVE_INFINITY
  await insist(
    stage,
    async (gotOn) => {
      if (at === size) return // the last byte came before the connection broke
      const response = await stage.client.raw(routes.getFile, {
        params: { taskId: stage.taskId, rest: path },
        headers: at === 0 ? {} : { range: `bytes=${at}-`, 'if-range': etag },
      })
      const isNew = response.headers.get('etag') !== etag
      if (at > 0 && isNew !== (response.status === 200)) throw new Fault(`${path}: ${response.status} for a Range`)
      etag = response.headers.get('etag') ?? ''
      if (response.status === 200) at = 0
      const from = at
      const length = Number(response.headers.get('content-length'))
      size = from + length
      if (response.status === 206 && response.headers.get('content-range') !== `bytes ${from}-${size - 1}/${size}`)
        throw new Fault(`${path}: asked for ${from}-, got ${response.headers.get('content-range')}`)
      for await (const chunk of response.body ?? []) {
        const waitMs = take(at, Buffer.from(chunk))
        at += chunk.length
        gotOn()
        tally.checked += chunk.length
        if (waitMs > 0) await pause(waitMs)
      }
      if (at !== size) throw new Fault(`${path}: the answer ended at ${at} of ${size} bytes as if it were whole`)
    },
    () => {
      tally.retries++
    },
  )
  return { size: at, etag }
}

/** A body that takes its time, so that it is under way when the tunnel is cut. */
function paced(stage: Stage, content: Buffer, gotOn: () => void): ReadableStream<Uint8Array> {
  let at = 0
  return new ReadableStream({
    async pull(controller) {
      if (at >= content.length) return controller.close()
      const piece = content.subarray(at, at + PIECE_BYTES)
      if (!stage.ending.aborted) await pause((piece.length / BYTES_PER_SECOND) * 1_000)
      at += piece.length
      if (at > PIECE_BYTES) gotOn()
      controller.enqueue(new Uint8Array(piece))
    },
  })
}
