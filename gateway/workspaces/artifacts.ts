/** Files that tasks hand back besides their patch, kept by task and name. Names come from agents, so they are checked. */
import { randomUUID } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { RclaudeError } from '../../protocol/errors.ts'
import type { TaskId } from '../../protocol/ids.ts'
import type { Artifact } from '../../protocol/routes.ts'
import { formatBytes } from '../../protocol/units.ts'
import { diskBytes } from './repository.ts'

export interface ArtifactLimits {
  /** Largest artifact. */
  artifactBytes: number
  /** All artifacts of one task. */
  totalBytes: number
  /** Most artifacts of one task. */
  count: number
}

export class Artifacts {
  /** Where they are; made with the first. */
  readonly directory: string
  readonly #limits: ArtifactLimits

  constructor(directory: string, limits: ArtifactLimits) {
    this.directory = directory
    this.#limits = limits
  }

  /** At once or not at all; an artifact of the same name is replaced. */
  async put(taskId: TaskId, name: string, content: Readable): Promise<void> {
    const file = this.#file(taskId, name)
    const others = (await this.list(taskId)).filter((other) => other.name !== name)
    const { count, totalBytes } = this.#limits
    if (others.length >= count)
      throw new RclaudeError('limit', `artifact ${name} was not stored: a task can have ${count} (limits.maxArtifacts)`)
    const room = totalBytes - others.reduce((sum, { size }) => sum + size, 0)
    await mkdir(join(this.directory, taskId), { recursive: true, mode: 0o700 })
    const temporary = join(this.directory, taskId, `.${randomUUID()}.tmp`)
    try {
      await pipeline(content, limited(name, room, this.#limits), createWriteStream(temporary, { mode: 0o600 }))
      await rename(temporary, file)
    } catch (error) {
      await rm(temporary, { force: true })
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC')
        throw new RclaudeError('disk_full', `the gateway's disk is full: artifact ${name} was not stored`, {
          cause: error,
        })
      throw error
    }
  }

  async list(taskId: TaskId): Promise<Artifact[]> {
    const directory = join(this.directory, taskId)
    const names = (await readdir(directory).catch(() => [])).filter((name) => !name.startsWith('.'))
    const sizes = await Promise.all(names.map(async (name) => (await stat(join(directory, name))).size))
    return names.map((name, index) => ({ name: decodeURIComponent(name), size: sizes[index] ?? 0 }))
  }

  async open(taskId: TaskId, name: string): Promise<{ content: Readable; size: number }> {
    const file = this.#file(taskId, name)
    const found = await stat(file).catch(() => undefined)
    if (found === undefined) throw new RclaudeError('not_found', `task ${taskId} has no artifact ${name}`)
    return { content: createReadStream(file), size: found.size }
  }

  async delete(taskId: TaskId): Promise<void> {
    await rm(join(this.directory, taskId), { recursive: true, force: true })
  }

  async diskUsage(taskId: TaskId): Promise<number> {
    return await diskBytes(join(this.directory, taskId))
  }

  /** One flat file per artifact: the encoded name holds no slash and starts with no dot. */
  #file(taskId: TaskId, name: string): string {
    const encoded = encodeURIComponent(name).replace(/^\./, '%2E')
    if (name === '' || encoded.length > 250 || /[\0\n]/.test(name))
      throw new RclaudeError('invalid', 'an artifact needs a name of 1 to 250 characters')
    return join(this.directory, taskId, encoded)
  }
}

/** Ends with an error at the first byte too many, and says which limit it was. */
const limited = (name: string, room: number, { artifactBytes, totalBytes }: ArtifactLimits) =>
  async function* (source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    let total = 0
    for await (const chunk of source) {
      total += chunk.length
      if (total > artifactBytes)
        throw new RclaudeError(
          'too_large',
          `artifact ${name} is larger than ${formatBytes(artifactBytes)} (limits.artifact)`,
        )
      if (total > room)
        throw new RclaudeError(
          'too_large',
          `with artifact ${name} the task would have more than ${formatBytes(totalBytes)} of artifacts (limits.artifacts)`,
        )
      yield chunk
    }
  }
