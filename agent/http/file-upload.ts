/**
 * Uploads that go on after a cut: `PUT /files/PATH?upload=ID` with `Content-Range: bytes FROM-TO/TOTAL`. What has arrived
 * waits outside the workspace, so that no checkpoint takes half a file along; with the last byte it is moved to its place.
 */
import { constants } from 'node:fs'
import { mkdir, open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { RclaudeError } from '../../protocol/errors.ts'
import { MAX_UPLOADS, UPLOAD_KEPT_SECONDS, UploadId } from '../../protocol/file.ts'
import { fill } from '../files/fill.ts'

interface ContentRange {
  from: number
  total: number
}

export class Uploads {
  readonly #directory: string
  /** Under way, with a way to end it: who asks for the same has given up the request before, which may not know yet. */
  readonly #writing = new Map<string, { settled: Promise<unknown>; end: AbortController }>()

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Bytes that are here. */
  async received(id: string): Promise<number> {
    await this.#takeOver(id)
    return (await stat(this.#path(id)).catch(() => undefined))?.size ?? 0
  }

  /**
   * @param finish is called with the whole file, which it may move away; whoever asks for this upload meanwhile waits for it
   * @returns what it returned; undefined when more is to come
   */
  async add<Result>(
    id: string,
    range: string | undefined,
    body: AsyncIterable<Buffer>,
    finish: (file: string) => Promise<Result>,
  ): Promise<{ received: number; finished?: Result }> {
    const { from, total } = rangeOf(range)
    await this.#takeOver(id)
    const end = new AbortController()
    const writing = this.#write(id, from, total, until(end.signal, body)).then(async (received) => {
      if (received < total) return { received }
      const finished = await finish(this.#path(id))
      await this.drop(id)
      return { received, finished }
    })
    const mine = { settled: writing.catch(() => {}), end }
    this.#writing.set(id, mine)
    try {
      return await writing
    } finally {
      if (this.#writing.get(id) === mine) this.#writing.delete(id)
    }
  }

  async #takeOver(id: string): Promise<void> {
    for (let before = this.#writing.get(id); before !== undefined; before = this.#writing.get(id)) {
      before.end.abort()
      await before.settled
      if (this.#writing.get(id) === before) this.#writing.delete(id)
    }
  }

  async drop(id: string): Promise<void> {
    await rm(this.#path(id), { force: true })
  }

  async #write(id: string, from: number, total: number, body: AsyncIterable<Buffer>): Promise<number> {
    await this.#makeRoom(id)
    const file = await open(this.#path(id), constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
    try {
      const { size } = await file.stat()
      if (from !== size)
        throw new RclaudeError('conflict', `upload ${id} has ${size} bytes, not ${from}: go on from there`)
      const received = await fill(file, atMost(total - from, body), from)
      await file.datasync() // so that little is left to be done when it is whole
      return received
    } finally {
      await file.close()
    }
  }

  async #makeRoom(id: string): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    const names = await readdir(this.#directory)
    if (names.includes(id)) return
    let left = names.length
    for (const name of names) {
      const found = await stat(join(this.#directory, name)).catch(() => undefined)
      if (found === undefined || Date.now() - found.mtimeMs < UPLOAD_KEPT_SECONDS * 1_000 || this.#writing.has(name))
        continue
      await this.drop(name)
      left--
    }
    if (left >= MAX_UPLOADS)
      throw new RclaudeError(
        'limit',
        `${MAX_UPLOADS} uploads of this task are unfinished: finish one, or DELETE it with ?upload=ID`,
      )
  }

  #path(id: string): string {
    return join(this.#directory, UploadId.parse(id))
  }
}

/** @throws RclaudeError `conflict` when the signal comes before the end */
async function* until(signal: AbortSignal, body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const ended = new Promise<never>((_, reject) => {
    const onEnd = () => reject(new RclaudeError('conflict', 'another request goes on with this upload'))
    signal.addEventListener('abort', onEnd, { once: true })
  })
  ended.catch(() => {})
  const chunks = body[Symbol.asyncIterator]()
  for (;;) {
    const next = await Promise.race([chunks.next(), ended])
    if (next.done === true) return
    yield next.value
  }
}

async function* atMost(bytes: number, body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let left = bytes
  for await (const chunk of body) {
    left -= chunk.length
    if (left < 0) throw new RclaudeError('invalid', 'more came than the total of Content-Range')
    yield chunk
  }
}

function rangeOf(header: string | undefined): ContentRange {
  const [, from, total] = /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15})$/.exec(header ?? '') ?? []
  if (from === undefined || total === undefined || Number(from) > Number(total))
    throw new RclaudeError('invalid', 'with ?upload=ID expected a header like Content-Range: bytes 0-99/100')
  return { from: Number(from), total: Number(total) }
}
