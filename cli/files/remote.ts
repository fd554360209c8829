/** The files of one task, as calls to the gateway. */
import type { Client } from '../../protocol/client.ts'
import { RclaudeError } from '../../protocol/errors.ts'
import {
  type DirectoryEntry,
  DirectoryListing,
  type FileOperation,
  FileStat,
  UploadProgress,
  WrittenFile,
} from '../../protocol/file.ts'
import { routes } from '../../protocol/routes.ts'

type Query = Record<string, string>

export class RemoteFiles {
  readonly #client: Client
  readonly taskId: string

  constructor(client: Client, taskId: string) {
    this.#client = client
    this.taskId = taskId
  }

  /** Undefined when nothing is there. Of a link itself, unless `follow`. */
  async stat(path: string, follow = false): Promise<FileStat | undefined> {
    try {
      return FileStat.parse(
        await (await this.get(path, { query: { stat: '1', ...(follow && { follow: '1' }) } })).json(),
      )
    } catch (error) {
      if (error instanceof RclaudeError && error.code === 'not_found' && error.message.includes('in the workspace'))
        return undefined
      throw error
    }
  }

  /** @throws RclaudeError `too_large` when a directory has more than one listing tells */
  async list(path: string): Promise<DirectoryEntry[]> {
    const { entries, omitted } = DirectoryListing.parse(await (await this.get(path)).json())
    if (omitted > 0)
      throw new RclaudeError(
        'too_large',
        `${path || 'the workspace'} has ${omitted} more entries than one listing tells: fetch it as tar, with - as the destination`,
      )
    return entries
  }

  get(path: string, options: { query?: Query; headers?: Record<string, string> } = {}): Promise<Response> {
    return this.#client.raw(routes.getFile, {
      params: { taskId: this.taskId, rest: path },
      query: (options.query ?? {}) as never,
      headers: options.headers ?? {},
    })
  }

  /** Undefined when it was a part, and not the last. */
  async put(
    path: string,
    rawBody: NonNullable<RequestInit['body']>,
    options: { query?: Query; headers?: Record<string, string> } = {},
  ): Promise<WrittenFile | undefined> {
    const response = await this.#client.raw(routes.putFile, {
      params: { taskId: this.taskId, rest: path },
      query: (options.query ?? {}) as never,
      headers: { 'content-type': 'application/octet-stream', ...options.headers },
      rawBody,
    })
    const answer: unknown = await response.json()
    return response.status === 202 ? undefined : WrittenFile.parse(answer)
  }

  async received(path: string, upload: string): Promise<number> {
    return UploadProgress.parse(await (await this.get(path, { query: { upload } })).json()).received
  }

  async change(path: string, operation: FileOperation): Promise<void> {
    await this.#post(path, JSON.stringify(operation), 'application/json')
  }

  async unpack(path: string, tar: NonNullable<RequestInit['body']>): Promise<void> {
    await this.#post(path, tar, 'application/x-tar')
  }

  async #post(path: string, rawBody: NonNullable<RequestInit['body']>, type: string): Promise<void> {
    const response = await this.#client.raw(routes.changeFile, {
      params: { taskId: this.taskId, rest: path },
      rawBody,
      headers: { 'content-type': type },
    })
    await response.body?.cancel()
  }
}
